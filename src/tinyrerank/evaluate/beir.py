"""Reads retrieval test sets in BEIR form and ranked lists in TREC run form.

A set is a folder: ``corpus.jsonl`` (``{"_id", "title", "text"}``), ``queries.jsonl`` (``{"_id", "text"}``)
and ``qrels/<split>.tsv`` (query-id, corpus-id, grade; a header line is optional). Every file may also be
gzipped, with ``.gz`` added to its name. A run is lines of ``query Q0 document rank score tag``.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from tinyrerank.errors import DataError, InputError

#: Document ids of each query, best first.
Run = dict[str, list[str]]
#: Grade of each judged document, by query.
Qrels = dict[str, dict[str, int]]


class BeirDocument(TypedDict):
    """A document of a corpus; the title may be empty."""

    title: str
    text: str


def whole_text(document: BeirDocument) -> str:
    """Title and text as one, as every system reads them."""
    return f"{document['title']} {document['text']}".strip()


@dataclass(frozen=True, slots=True)
class Topics:
    """The judged queries of one split.

    Attributes:
        queries: text by id, only queries with at least one relevant document, in the order of the judgements.
        qrels: all their judgements, also of documents outside the corpus.
        without_relevant: judged queries that were left out because nothing is relevant to them.
    """

    queries: dict[str, str]
    qrels: Qrels
    without_relevant: int


def read_topics(folder: Path, split: str = "test") -> Topics:
    """The queries and judgements of ``folder`` for ``split``.

    Raises:
        InputError: the folder is no BEIR set, or has no such split.
        DataError: a line is malformed, or a judged query has no text; names file and line.
    """
    queries_path = _find(folder, "queries.jsonl")
    qrels_path = _find_qrels(folder, split)
    texts = {}
    for number, row in read_jsonl(queries_path):
        key = _id_of(row, queries_path, number)
        if key in texts:
            raise DataError(f"{queries_path}:{number}: query {key} occurs twice; ids must be unique")
        texts[key] = _text_of(row, "text", queries_path, number, required=True)
    judgements: Qrels = {}
    for number, query, document, grade in _read_qrels(qrels_path):
        if query not in texts:
            raise DataError(
                f"{qrels_path}:{number}: query {query} is not in {queries_path.name}; add it or drop the line"
            )
        judgements.setdefault(query, {})[document] = grade
    qrels = {query: judged for query, judged in judgements.items() if max(judged.values()) > 0}
    if not qrels:
        raise DataError(f"{qrels_path}: no query has a relevant document (a grade above 0)")
    return Topics({query: texts[query] for query in qrels}, qrels, len(judgements) - len(qrels))


def read_corpus(folder: Path, wanted: Collection[str] | None = None) -> tuple[dict[str, BeirDocument], int]:
    """Documents by id, and the number of documents in the file.

    Args:
        folder: a BEIR folder.
        wanted: ids to keep, all when None; a large corpus is read as a stream.

    Raises:
        InputError: the folder holds no corpus.
        DataError: a line is malformed or an id occurs twice; names file and line.
    """
    path = _find(folder, "corpus.jsonl")
    documents: dict[str, BeirDocument] = {}
    total = 0
    for number, row in read_jsonl(path):
        total += 1
        key = _id_of(row, path, number)
        if wanted is not None and key not in wanted:
            continue
        if key in documents:
            raise DataError(f"{path}:{number}: document {key} occurs twice; ids must be unique")
        title = _text_of(row, "title", path, number, required=False)
        documents[key] = {"title": title, "text": _text_of(row, "text", path, number, required=True)}
    return documents, total


def read_run(path: Path) -> Run:
    """A TREC run file, gzipped or not: by falling score, equal scores by rank, then by line.

    Raises:
        InputError: there is no such file.
        DataError: a line is malformed, or lists a document twice for a query; names file and line.
    """
    rows: dict[str, dict[str, tuple[float, float, int]]] = {}
    for number, line in _read_lines(path):
        fields = line.split()
        if len(fields) != 6:
            raise DataError(
                f"{path}:{number}: {len(fields)} fields; a run line has 6: query Q0 document rank score tag",
            )
        query, _, document, rank, score, _ = fields
        try:
            place = (-float(score), float(rank), number)
        except ValueError:
            raise DataError(f"{path}:{number}: rank {rank!r} and score {score!r} must be numbers") from None
        if not math.isfinite(place[0]):
            raise DataError(f"{path}:{number}: score {score} is not finite")
        listed = rows.setdefault(query, {})
        if document in listed:
            raise DataError(f"{path}:{number}: document {document} is listed twice for query {query}")
        listed[document] = place
    if not rows:
        raise DataError(f"{path}: the run is empty")
    return {query: sorted(listed, key=listed.__getitem__) for query, listed in rows.items()}


def write_run(path: Path, run: Run, tag: str) -> None:
    """Write a gzipped TREC run; its scores fall by one a rank, so no tool can break a tie its own way."""
    with io.BytesIO() as buffer:
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as packed:
            for query, documents in run.items():
                for rank, document in enumerate(documents, start=1):
                    packed.write(f"{query} Q0 {document} {rank} {len(documents) - rank + 1} {tag}\n".encode())
        replacement = path.with_name(path.name + ".part")
        replacement.write_bytes(buffer.getvalue())
    replacement.replace(path)


def _find(folder: Path, name: str) -> Path:
    """The file ``name`` or ``name.gz`` in ``folder``."""
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; give a BEIR folder (corpus.jsonl, queries.jsonl, qrels/)"
        )
    hint = "give a BEIR folder (corpus.jsonl, queries.jsonl, qrels/)"
    if any((child / name).is_file() or (child / f"{name}.gz").is_file() for child in folder.iterdir()):
        hint = f"its subfolders have one: give {folder}/* or some of them"
    raise InputError(f"{folder}: has no {name} (or {name}.gz); {hint}")


def _find_qrels(folder: Path, split: str) -> Path:
    for candidate in (folder / "qrels" / f"{split}.tsv", folder / "qrels" / f"{split}.tsv.gz"):
        if candidate.is_file():
            return candidate
    present = sorted({path.name.split(".tsv")[0] for path in (folder / "qrels").glob("*.tsv*")})
    raise InputError(f"{folder}: has no qrels/{split}.tsv; splits here: {', '.join(present) or 'none'}")


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Non-blank lines with their numbers from 1."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}:{number}: not UTF-8; convert the file") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise DataError(
            f"{path}:{number + 1}: damaged gzip data from here; make or fetch the file again"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a ``.jsonl`` or ``.jsonl.gz`` file and their line numbers from 1; blank lines do not matter.

    Raises:
        InputError: there is no such file.
        DataError: a line is not UTF-8 or not a JSON object, or the file is damaged; names file and line.
    """
    for number, line in _read_lines(path):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not JSON ({error.msg} at column {error.colno})") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: a JSON object is needed, this is {type(row).__name__}")
        yield number, row


def _read_qrels(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """Line number, query, document and grade; a header is a first line whose last field is no number."""
    first = True
    for number, line in _read_lines(path):
        fields = line.split("\t")
        if len(fields) != 3:
            raise DataError(
                f"{path}:{number}: {len(fields)} tab-separated fields; 3 are needed: "
                "query-id, corpus-id, grade",
            )
        header, first = first, False
        try:
            grade = int(fields[2])
        except ValueError:
            if header:
                continue
            raise DataError(f"{path}:{number}: grade {fields[2]!r} is not a whole number") from None
        yield number, fields[0], fields[1], grade


def _id_of(row: dict[str, Any], path: Path, number: int) -> str:
    """The ``_id``, a whole number written out; spaces are refused, for a run line could not carry them."""
    key = row.get("_id")
    if isinstance(key, bool) or not isinstance(key, str | int) or str(key).split() != [str(key)]:
        raise DataError(f'{path}:{number}: "_id" must be a string without spaces, got {key!r}')
    return str(key)


def _text_of(row: dict[str, Any], field: str, path: Path, number: int, *, required: bool) -> str:
    text = row.get(field)
    if text is None and not required:
        return ""
    if not isinstance(text, str):
        raise DataError(f'{path}:{number}: "{field}" must be a string, got {type(text).__name__}')
    return text
