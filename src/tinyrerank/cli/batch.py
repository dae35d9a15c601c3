"""Batch mode of ``tinyrerank rank``: many queries, one JSONL line of results each, resumed after a kill.

Every line carries a key: a hash of the query line, of the documents and of all that the results depend on. A
run that finds its keys in the output file leaves those queries alone, so that nothing is lost, repeated or,
when an input has changed, taken for done. Lines that no query asks for any more move to ``OUT.stale``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tinyrerank.cli.inputs import Passage, Reading, from_fields, identifier, json_lines, shown
from tinyrerank.cli.order import Order
from tinyrerank.cli.render import row, to_json
from tinyrerank.errors import BusyError, DataError, InputError, TinyrerankError
from tinyrerank.progress import Progress

if TYPE_CHECKING:
    from tinyrerank import Reranker

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_LINE_START = b'{"key": "'


@dataclass(frozen=True, slots=True)
class Job:
    """One query with its documents.

    Attributes:
        key: hash of everything that the results depend on.
        where: ``file:line`` of the query.
        id: the query's identifier, if it has one.
        query: its text.
        passages: what to rank.
    """

    key: str
    where: str
    id: str | None
    query: str
    passages: Sequence[Passage]


def salt(depends_on: dict[str, Any], reading: Reading, shared: Sequence[Passage] | None) -> str:
    """Hash of all that every result depends on: settings and model files, field names, shared documents."""
    documents = hashlib.sha256()
    for passage in shared or ():
        documents.update(json.dumps(asdict(passage)).encode())
    return _hash(json.dumps([depends_on, asdict(reading), documents.hexdigest()]))


@dataclass(frozen=True, slots=True)
class Queries:
    """A file of queries. Iterating reads it afresh, line by line, and yields a :class:`Job` each.

    Attributes:
        path: JSONL file of ``query``, perhaps ``id``, and ``documents`` unless ``shared`` is given.
        salt: hash of what all results depend on; part of every key.
        shared: documents for all queries, or None if every query brings its own.
        reading: field names of documents that are objects.

    Raises:
        DataError: while iterating: a line is malformed; names it.
    """

    path: str
    salt: str
    shared: Sequence[Passage] | None
    reading: Reading

    def __iter__(self) -> Iterator[Job]:
        seen: Counter[str] = Counter()
        for line, record in json_lines(self.path):
            where = f"{self.path}:{line}"
            query = record.get("query")
            if not isinstance(query, str):
                raise DataError(
                    f"{where}: 'query' must be a string (there: {', '.join(record) or 'nothing'})"
                )
            content = _hash(self.salt + json.dumps(record, sort_keys=True))
            seen[content] += 1
            # Equal lines are separate queries: each has its own result, told apart by how many came before.
            key = _hash(f"{content} {seen[content]}")
            yield Job(key, where, identifier(record, where), query, self._passages(record, line))

    def _passages(self, record: dict[str, Any], line: int) -> Sequence[Passage]:
        where = f"{self.path}:{line}"
        documents = record.get("documents")
        if self.shared is None:
            return _candidates(documents, where, line, self.reading)
        if documents is not None:
            raise DataError(
                f"{where}: has 'documents', but files of documents were named, too; give one of the two"
            )
        return self.shared


def run(reranker: Reranker, queries: Queries, order: Order, *, out: str | None) -> None:
    """Rank every query into ``out``, or to standard output without resuming.

    The whole file of queries is checked before the first one is ranked.

    Args:
        reranker: the model.
        queries: what to rank.
        order: how many results a query, and by what.
        out: JSONL file to append to and to resume from, None for standard output.

    Raises:
        DataError: the file of queries is malformed; names the line.
        InputError: ``out`` is not a file of such results, or a query cannot be ranked; names the line.
        BusyError: another run is writing to ``out``.
    """
    keys = {job.key for job in queries}
    with _output(out, keys) as (file, done):
        progress = Progress(len(keys) - len(done), "queries", done=len(done))
        try:
            for job in queries:
                if job.key not in done:
                    file.write(_result(reranker, job, order).encode() + b"\n")
                    file.flush()
                    progress.advance()
        finally:
            progress.close()


def _candidates(documents: object, where: str, line: int, reading: Reading) -> list[Passage]:
    if not isinstance(documents, list):
        raise DataError(
            f"{where}: 'documents' must be a list of strings or objects, not {shown(documents)};"
            " or name files of documents on the command line"
        )
    passages = []
    for n, document in enumerate(documents):
        if isinstance(document, str):
            passages.append(Passage(document, "", line))
        elif isinstance(document, dict):
            passages.append(from_fields(document, "", line, reading, where=f"{where}: document {n}"))
        else:
            raise DataError(f"{where}: document {n} must be a string or an object, not {shown(document)}")
    return passages


def _result(reranker: Reranker, job: Job, order: Order) -> str:
    """The output line of one query, without the line break."""
    try:
        ranking = order.rank(reranker, job.query, [p.document for p in job.passages])
    except TinyrerankError as error:
        error.args = (f"{job.where}: {error}",)
        raise
    result: dict[str, Any] = {"key": job.key}
    if job.id is not None:
        result["id"] = job.id
    result |= {
        "query": job.query,
        "n_documents": ranking.n_documents,
        "results": [
            row(rank, hit, job.passages[hit.index], with_text=False) for rank, hit in enumerate(ranking, 1)
        ],
    }
    return to_json(result)


@contextmanager
def _output(path: str | None, wanted: set[str]) -> Iterator[tuple[BinaryIO, set[str]]]:
    """Where results go and the keys that are there already: a file, ours alone, or standard output."""
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer, set()
        return
    file = _open_locked(path)
    try:
        done, stale = _scan(file, path, wanted)
        if stale:
            _set_aside(file, path, stale)
            file.close()
            file = _open_locked(path)
        yield file, done
    finally:
        file.close()


def _open_locked(path: str) -> BinaryIO:
    """The file, created if need be, open at its end, locked against a second run where the system can."""
    try:
        file = Path(path).open("a+b")  # noqa: SIM115 - _output closes it
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror})") from None
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise BusyError(
                f"--out {path}: another run is writing to it; wait for it, or give another file"
            ) from None
    return file


def _scan(file: BinaryIO, path: str, wanted: set[str]) -> tuple[set[str], set[int]]:
    """Keys of finished queries, and numbers (from 0) of lines of no use now; a torn last line is cut off.

    Raises:
        InputError: the file holds something other than results of this command; nothing is changed then.
    """
    done: set[str] = set()
    stale: set[int] = set()
    end = 0
    file.seek(0)
    for n, line in enumerate(file):
        if not line.endswith(b"\n") and _LINE_START.startswith(line[: len(_LINE_START)]):
            file.truncate(end)
            break
        key = _key(line)
        if key is None:
            raise InputError(
                f"--out {path}: line {n + 1} is no result of `tinyrerank rank`; give another file"
            )
        if key in wanted and key not in done:
            done.add(key)
        else:
            stale.add(n)
        end += len(line)
    file.seek(0, os.SEEK_END)
    return done, stale


def _key(line: bytes) -> str | None:
    """The key of an output line, None if it is not one."""
    try:
        record = json.loads(line) if line.startswith(_LINE_START) and line.endswith(b"\n") else None
    except ValueError:
        return None
    return str(record["key"]) if isinstance(record, dict) else None


def _set_aside(file: BinaryIO, path: str, stale: set[int]) -> None:
    """Move lines to ``path.stale``. The file is replaced in one step: a kill in between loses nothing."""
    file.seek(0)
    shorter = Path(path + ".new")
    with Path(path + ".stale").open("ab") as old, shorter.open("wb") as new:
        for n, line in enumerate(file):
            (old if n in stale else new).write(line)
    shorter.replace(path)
    print(
        f"tinyrerank: warning: results in {path} of other queries, documents or settings: {len(stale)},"
        f" moved to {path}.stale",
        file=sys.stderr,
    )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
