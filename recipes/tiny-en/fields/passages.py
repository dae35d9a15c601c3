"""What is English prose, and passages of some length cut from paragraphs of it."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from repository import Repository

SEED = 20261128
#: Titles and passages.
Rows = Iterator[tuple[str, str]]
Reader = Callable[[Repository], Rows]

_COMMON = frozenset(
    "the of and in to a is we that for with by are on this as which an be from it was you or not have".split()  # noqa: SIM905
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_LINK_OR_MARKUP = re.compile(r"https?:|www\.|</?[a-z]+[ >/]|\{\{|\\|::")
_SITE_MARKUP = re.compile(r"[|{}]|\]\(|\[\[|\]\]|\[ ?x?\] |https?://\S{40}|</|&[a-z]+;")


def squeeze(text: str) -> str:
    """Text with single spaces."""
    return " ".join(text.split())


def close_gaps(text: str) -> str:
    """Text without the gaps that citations and formulae leave when cut out: before points, in brackets."""
    text = re.sub(r"\s+([,.;:!?)])", r"\1", squeeze(text))
    text = re.sub(r"\(\s*[;,:]?\s*", "(", text)
    return re.sub(r"\s*\(\s*\)", "", text)


def fit(text: str) -> bool:
    """Whether this is English prose of 40 to 250 words."""
    words = text.split()
    if not 40 <= len(words) <= 250:
        return False
    common = sum(word.lower().strip('.,;:()"') in _COMMON for word in words)
    letters = sum(c.isalpha() or c == " " for c in text)
    return common >= 0.18 * len(words) and letters >= 0.85 * len(text)


def passages(paragraphs: list[str], least: int = 60) -> Iterator[str]:
    """Paragraphs joined to passages of so many to 200 words; longer ones are cut between sentences."""
    held: list[str] = []
    n_held = 0
    for paragraph in filter(None, map(squeeze, paragraphs)):
        long = len(paragraph.split()) > 200
        for piece in _SENTENCE_END.split(paragraph) if long else [paragraph]:
            n_words = len(piece.split())
            if held and n_held + n_words > 200:
                yield " ".join(held)
                held, n_held = [], 0
            held.append(piece)
            n_held += n_words
            if n_held >= least and not long:
                yield " ".join(held)
                held, n_held = [], 0
    if n_held >= least // 2:
        yield " ".join(held)


def fitting(paragraphs: list[str]) -> Iterator[str]:
    """Passages that are fit."""
    return filter(fit, passages(paragraphs))


def site_rows(title: str, paragraphs: list[str]) -> Rows:
    """Fit passages of a website's or book's paragraphs; a point that a word follows (.gov) keeps its gap."""
    for passage in passages(paragraphs):
        text = re.sub(r"\s+([,.;:!?)])(?=\s|$)", r"\1", passage.replace("( ", "("))
        text = re.sub(r"\(\s*\)", "", text).strip()
        if fit(text) and not _SITE_MARKUP.search(text):
            yield title, text[:1].upper() + text[1:]


def without_links(reader: Reader) -> Reader:
    """A reader whose passages hold no link or markup; one that comes again takes the later title."""

    def rows(repository: Repository) -> Rows:
        titles = {squeeze(text): title for title, text in reader(repository)}
        return ((title, text) for text, title in titles.items() if not _LINK_OR_MARKUP.search(text))

    return rows


def write(rows: list[dict[str, str]], out: Path) -> None:
    """Write rows as compressed lines of JSON, without time or name of the file in it."""
    with out.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as lines:
        for row in rows:
            lines.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
