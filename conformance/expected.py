"""Queries and documents of the conformance runs, with the scores that the library gives them."""

from __future__ import annotations

import json
from pathlib import Path

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
            hits = sorted(reranker.rank(query, texts), key=lambda hit: hit.index)
            scores = [hit.score for hit in hits]
            logits = [hit.logit for hit in hits]
            cases[name] = {"query": query, "texts": texts, "scores": scores, "logits": logits}
    path.write_text(json.dumps(cases), encoding="utf-8")
