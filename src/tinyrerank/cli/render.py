"""Turns rankings into JSON rows and into a table for people."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

from tinyrerank.cli.inputs import Passage
from tinyrerank.types import Hit, Ranking

_SENTENCE = re.compile(r"(?<=[.!?…])\s+")
_SNIPPET_LINES = 2
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON in UTF-8; text that UTF-8 cannot carry (lone surrogates) is escaped instead."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


def row(rank: int, hit: Hit, passage: Passage, *, with_text: bool = True) -> dict[str, Any]:
    """One result as it is written to JSON; absent values are left out, never null.

    Args:
        rank: from 1.
        hit: the ranked document.
        passage: where it came from.
        with_text: whether title and text are repeated.
    """
    receipt = hit.receipt
    # The title stands before the text in what was scored; the span is told in characters of the text alone.
    before = len(hit.text) - len(passage.text)
    result: dict[str, Any] = {"rank": rank, "score": hit.score, "logit": hit.logit, "index": hit.index}
    if passage.id is not None:
        result["id"] = passage.id
    if passage.path:
        result |= {"path": passage.path, "line": passage.line}
    if with_text:
        if passage.title:
            result["title"] = passage.title
        result["text"] = passage.text
    return result | {
        "tokens_read": receipt.tokens_read,
        "tokens_total": receipt.tokens_total,
        "truncated": receipt.truncated,
        "windows": receipt.windows,
        "span": [max(0, at - before) for at in receipt.span],
    }


def table(ranking: Ranking, passages: Sequence[Passage], *, width: int, color: bool) -> Iterator[str]:
    """Lines of a table: rank, score, place and title, and under them the words that fit the query.

    Args:
        ranking: what to show.
        passages: every document that was ranked, in the order they were given.
        width: columns of the terminal.
        color: whether to use bold and dim type.
    """
    bold, dim, plain = (_BOLD, _DIM, _PLAIN) if color else ("", "", "")
    digits = len(str(len(ranking)))
    indent = " " * (digits + 9)
    for rank, hit in enumerate(ranking, 1):
        passage, receipt = passages[hit.index], hit.receipt
        place = passage.where + (f" [{clean(passage.id)}]" if passage.id is not None else "")
        cut = f"  (read {receipt.tokens_read} of {receipt.tokens_total} tokens)" if receipt.truncated else ""
        title = clean(passage.title or "")
        room = width - len(indent) - columns(place) - len(cut) - 2
        title = f"  {bold}{fit(title, room)}{plain}" if title and room > 8 else ""
        yield f"{rank:>{digits}}  {hit.score:.3f}  {dim}{clean(place)}{plain}{title}{cut}"
        for line in wrap(snippet(hit, passage, ranking.query, width), width - len(indent), _SNIPPET_LINES):
            yield indent + line


def snippet(hit: Hit, passage: Passage, query: str, width: int) -> str:
    """The part of a document worth showing, on one line, free of control characters.

    It is the winning window if there were several; where even that is long, it starts at the sentence that
    shares most words with the query.
    """
    text = hit.text[slice(*hit.receipt.span)] if hit.receipt.windows > 1 else passage.text
    if len(text) > _SNIPPET_LINES * width:
        wanted = set(re.findall(r"\w{3,}", query.lower()))
        sentences = _SENTENCE.split(text)
        shared = [len(wanted & set(re.findall(r"\w{3,}", s.lower()))) for s in sentences]
        best = shared.index(max(shared))
        if best:
            text = "… " + " ".join(sentences[best:])
    return clean(text)


def clean(text: str) -> str:
    """Text on one line without characters that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def columns(text: str) -> int:
    """Terminal columns that a text takes: wide East Asian characters two, combining marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def fit(text: str, width: int) -> str:
    """The text cut to ``width`` columns, with an ellipsis where something is missing.

    Example:
        >>> fit("the tide rises", 8), fit("tide", 8)
        ('the tid…', 'tide')
    """
    if columns(text) <= width:
        return text
    kept, used = [], 1
    for c in text:
        used += columns(c)
        if used > width:
            break
        kept.append(c)
    return "".join(kept).rstrip() + "…"


def wrap(text: str, width: int, n_lines: int) -> list[str]:
    """The text in at most ``n_lines`` lines of ``width`` columns, broken between words, the last cut."""
    lines: list[str] = []
    words = text.split(" ") if text else []
    while words and len(lines) < n_lines - 1:
        taken = 1
        while taken < len(words) and columns(" ".join(words[: taken + 1])) <= width:
            taken += 1
        lines.append(fit(" ".join(words[:taken]), width))
        del words[:taken]
    if words:
        # A few words beyond the width suffice to know that something is missing.
        lines.append(fit(" ".join(words[: width + 1]), width))
    return lines
