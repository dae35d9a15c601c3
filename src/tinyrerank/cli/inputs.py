"""Reads documents from text, Markdown, JSONL, CSV and TSV files, from folders and from standard input."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from tinyrerank.cli.markdown import split_markdown
from tinyrerank.errors import DataError, InputError
from tinyrerank.types import Document

#: Formats by name, and the file name endings that mean them. Anything else named by the user is text.
FORMATS: dict[str, tuple[str, ...]] = {
    "text": (".txt", ".text"),
    "markdown": (".md", ".markdown"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv",),
    "tsv": (".tsv",),
}
UNITS = ("line", "paragraph", "file")
STDIN = "-"

_PARAGRAPH = re.compile(r"[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*")  # neighbouring lines that are not blank


@dataclass(frozen=True, slots=True)
class Passage:
    """One document and where it came from.

    Attributes:
        text: what is ranked.
        path: file as the user named it, ``-`` for standard input.
        line: line in the file, from 1.
        title: heading or title, if it has one; it is ranked together with the text.
        id: identifier, if the file gives one.
    """

    text: str
    path: str
    line: int
    title: str | None = None
    id: str | None = None

    @property
    def where(self) -> str:
        """``file:line``, as editors open it."""
        return f"{self.path}:{self.line}"

    @property
    def document(self) -> Document:
        """The form that ``Reranker.rank`` takes."""
        return {"title": self.title, "text": self.text} if self.title else self.text


@dataclass(frozen=True, slots=True)
class Reading:
    """How files become documents.

    Attributes:
        format: a name in ``FORMATS``, or None to go by the ending of the file name.
        per: what makes one document of a text or Markdown file: ``line``, ``paragraph`` or ``file``; None
            means a line of standard input, a passage of Markdown and the whole of another file.
        text_field: JSON key or column of the text.
        title_field: JSON key or column of the title, which may be absent.
        id_field: JSON key or column of the identifier, which may be absent; ``_id`` is tried too.
    """

    format: str | None = None
    per: str | None = None
    text_field: str = "text"
    title_field: str = "title"
    id_field: str = "id"


def read_passages(sources: Iterable[str], reading: Reading) -> list[Passage]:
    """Every document of the files, folders and ``-`` in ``sources``, in order.

    Raises:
        InputError: a source does not exist, or a folder has no file of a known format.
        DataError: a file is malformed or not UTF-8; names file and line.
    """
    return [passage for path in expand(sources) for passage in _read(path, reading)]


def expand(sources: Iterable[str]) -> Iterator[str]:
    """Files named by ``sources``; a folder gives its files of known formats, sorted, hidden ones left out."""
    known = tuple(ending for endings in FORMATS.values() for ending in endings)
    for source in sources:
        path = Path(source)
        if source == STDIN or path.is_file():
            yield source
        elif path.is_dir():
            found = [
                str(file)
                for file in sorted(path.rglob("*"))
                if file.name.lower().endswith(known)
                and not any(part.startswith(".") for part in file.relative_to(path).parts)
                and file.is_file()
            ]
            if not found:
                raise InputError(
                    f"{source}: no file in this folder ends in {' '.join(known)}; name files instead"
                )
            yield from found
        elif path.exists():
            yield source  # a pipe or a device, as in <(command)
        else:
            raise InputError(
                f"{source}: no such file or folder; give files, folders, or - for standard input"
            )


def read_text(path: str) -> str:
    """A whole file or standard input, decoded from UTF-8 with or without a byte order mark.

    Raises:
        InputError: the file cannot be opened.
        DataError: it is not UTF-8; says where.
    """
    with _open(path) as file:
        return _decode(file.read(), path, 1)


@contextmanager
def _open(path: str) -> Iterator[BinaryIO]:
    """A file or standard input in binary, errors in our words."""
    try:
        if path == STDIN:
            yield sys.stdin.buffer
        else:
            with Path(path).open("rb") as file:
                yield file
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _decode(data: bytes, path: str, line: int) -> str:
    """UTF-8 bytes that start at ``line`` of a file."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        guess = "UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
        raise DataError(
            f"{path}:{line}: not UTF-8 (byte 0x{data[error.start]:02x});"
            f" convert it first, for example: iconv -f {guess} -t UTF-8"
        ) from None


def json_lines(path: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSONL file with their lines, from 1, read one by one; blank lines are passed over.

    Raises:
        InputError: the file cannot be opened.
        DataError: a line is not UTF-8 or not a JSON object; names it.
    """
    with _open(path) as file:
        for number, data in enumerate(file, 1):
            line = _decode(data, path, number)
            if line.strip():
                yield number, _json_object(line, path, number)


def _json_object(line: str, path: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{number}: not JSON ({error.msg} at column {error.colno}); JSONL has one object a line"
        ) from None
    except RecursionError:
        raise DataError(f"{path}:{number}: JSON nested too deeply to read") from None
    except ValueError as error:  # whole numbers of thousands of digits
        raise DataError(f"{path}:{number}: JSON that cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}:{number}: a JSON object is needed, not {shown(value)}")
    return value


def shown(value: object) -> str:
    """The beginning of a JSON value, for an error message."""
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:40] + "…"


def from_fields(
    record: dict[str, Any], path: str, line: int, reading: Reading, *, where: str | None = None
) -> Passage:
    """A document from a JSON object.

    Args:
        record: the object.
        path: its file, empty for a candidate inside a line of queries.
        line: its line, from 1.
        reading: names of the fields.
        where: its place for errors; None means ``path:line``.

    Raises:
        DataError: the text is missing or not a string, or the title is neither a string nor null.
    """
    where = where or f"{path}:{line}"
    if reading.text_field not in record:
        keys = ", ".join(record) or "none"
        raise DataError(
            f"{where}: no {reading.text_field!r} (there: {keys}); name the right one with --text-field"
        )
    text, title = record[reading.text_field], record.get(reading.title_field)
    if not isinstance(text, str):
        raise DataError(f"{where}: {reading.text_field!r} must be a string, not {shown(text)}")
    if title is not None and not isinstance(title, str):
        raise DataError(f"{where}: {reading.title_field!r} must be a string, not {shown(title)}")
    return Passage(text, path, line, title or None, identifier(record, where, reading.id_field))


def identifier(record: dict[str, Any], where: str, id_field: str = "id") -> str | None:
    """The ``id`` (else ``_id``) of a JSON object as a string, None if it has none.

    Raises:
        DataError: it is neither a string nor a whole number; names ``where``.
    """
    value = record.get(id_field, record.get("_id"))
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(f"{where}: {id_field!r} must be a string or a whole number, not {shown(value)}")
    return str(value)


def _read(path: str, reading: Reading) -> Iterator[Passage]:
    ending = Path(path).suffix.lower()
    name = reading.format or next((name for name, endings in FORMATS.items() if ending in endings), "text")
    return _READERS[name](path, reading)


def _read_plain(path: str, reading: Reading) -> Iterator[Passage]:
    """One document a line, paragraph or file; blank ones are none."""
    text = _newlines(read_text(path))
    per = reading.per or ("line" if path == STDIN else "file")
    if per == "file":
        if text.strip():
            yield Passage(text, path, 1)
    elif per == "line":
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield Passage(line, path, number)
    else:
        number, counted = 1, 0
        for found in _PARAGRAPH.finditer(text):
            number += text.count("\n", counted, found.start())
            counted = found.start()
            yield Passage(found[0].rstrip(), path, number)


def _read_markdown(path: str, reading: Reading) -> Iterator[Passage]:
    """Passages under their headings, or lines, paragraphs or the file where the user says so."""
    if reading.per:
        yield from _read_plain(path, reading)
        return
    for line, heading, text in split_markdown(_newlines(read_text(path))):
        yield Passage(text, path, line, heading)


def _read_jsonl(path: str, reading: Reading) -> Iterator[Passage]:
    for line, record in json_lines(path):
        yield from_fields(record, path, line, reading)


def _read_table(path: str, reading: Reading, delimiter: str, quoting: Literal[0, 3]) -> Iterator[Passage]:
    """Rows under a header."""
    csv.field_size_limit(1 << 30)  # characters; the default of 131072 is less than a long document
    rows = csv.reader(
        io.StringIO(read_text(path), newline=""), delimiter=delimiter, quoting=quoting, strict=True
    )
    try:
        header = next(rows, None)
        if header is None:
            raise DataError(f"{path}: empty; a {delimiter!r}-separated file starts with a header line")
        if reading.text_field not in header:
            columns = ", ".join(header)
            raise DataError(
                f"{path}:1: no column {reading.text_field!r} (there: {columns}); name it with --text-field"
            )
        last = rows.line_num
        for row in rows:
            line, last = last + 1, rows.line_num
            if not row:
                continue
            if len(row) != len(header):
                raise DataError(
                    f"{path}:{line}: {len(row)} fields, but {len(header)} in the header; quote separators"
                )
            yield from_fields(dict(zip(header, row, strict=True)), path, line, reading)
    except csv.Error as error:
        raise DataError(f"{path}:{rows.line_num}: malformed row ({error})") from None


def _read_csv(path: str, reading: Reading) -> Iterator[Passage]:
    """Comma-separated; a cell in double quotes may hold commas and line breaks."""
    return _read_table(path, reading, ",", csv.QUOTE_MINIMAL)


def _read_tsv(path: str, reading: Reading) -> Iterator[Passage]:
    """Tab-separated; the format has no quoting, so a double quote is a character like any other."""
    return _read_table(path, reading, "\t", csv.QUOTE_NONE)


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


_READERS: dict[str, Callable[[str, Reading], Iterator[Passage]]] = {
    "text": _read_plain,
    "markdown": _read_markdown,
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "tsv": _read_tsv,
}
