"""Queries and documents of the conformance runs, with the scores that the library gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinyrerank import Reranker

_TIDES = "how do tides work?"
_PASSAGES = [
    "Bread rises because yeast turns sugar into gas.",
    "The Moon's gravity stretches the oceans into two bulges, and the Earth turns beneath them.",
    "Spring tides come when Sun, Moon and Earth stand in line.",
    "A cross-encoder reads a question together with a passage.",
    "The harbour master publishes a table of high and low water for every day of the year.",
]
_UNICODE = [
    "Les marées suivent la Lune — « deux fois par jour » 🌊.",
    "潮汐は月の引力によって起こる。",
    "أسباب المد والجزر",
    "zero\u200bwidth, e\u0301 combined, and a tab\tand a line\nbreak",
    "plain words about bread",
]


def requests() -> dict[str, tuple[str, list[str]]]:
    """Query and documents of each case, by name."""
    many = [f"Passage {i}: {_PASSAGES[i % 5]} Station {i * 37 % 101} was read." for i in range(500)]
    long = " ".join(f"{_PASSAGES[i % 5]} ({i})" for i in range(700))
    return {
        "basic": (_TIDES, _PASSAGES),
        "one": (_TIDES, _PASSAGES[1:2]),
        "many": (_TIDES, many),
        "unicode": ("pourquoi les marées ? 🌕", _UNICODE),
        "empty": (_TIDES, [_PASSAGES[0], "", _PASSAGES[1]]),
        "long": (_TIDES, [_PASSAGES[0], long, _PASSAGES[1]]),
    }


def write_expected(path: Path, model: str | None = None, *, threads: int | None = None) -> None:
    """Score every case with the library and write what the clients should get."""
    cases = {}
    with Reranker(model, threads=threads) as reranker:
        for name, (query, texts) in requests().items():
            cases[name] = scored(reranker, query, texts)
        query, texts = requests()["long"]
        cases["long in windows"] = scored(reranker, query, texts, policy="window")
        cases["long, 4096 tokens of it"] = scored(
            reranker, query, texts, max_length=length_for(reranker, query, texts, 4096)
        )
    path.write_text(json.dumps(cases), encoding="utf-8")


def scored(reranker: Reranker, query: str, texts: list[str], **how: Any) -> dict[str, Any]:
    """A case as JSON."""
    hits = sorted(reranker.rank(query, texts, **how), key=lambda hit: hit.index)
    scores, logits = [hit.score for hit in hits], [hit.logit for hit in hits]
    return {"query": query, "texts": texts, "scores": scores, "logits": logits}


def length_for(reranker: Reranker, query: str, texts: list[str], tokens: int) -> int:
    """The ``max_length`` under which so many tokens of the longest document are read."""
    read = max(hit.receipt.tokens_read for hit in reranker.rank(query, texts, max_length=tokens))
    return tokens + tokens - read
