"""What is near the evaluation sets, and so must not be trained on."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

_LENGTH = 13


def words(text: str) -> list[str]:
    """Lower-case words and numbers."""
    return re.sub(r"[^a-z0-9 ]+", " ", text.lower()).split()


def _sequences(of: list[str]) -> Iterator[bytes]:
    """A digest of every run of 13 words."""
    for start in range(len(of) - _LENGTH + 1):
        yield hashlib.blake2b(" ".join(of[start : start + _LENGTH]).encode(), digest_size=8).digest()


class Evaluation:
    """Sequences of words, titles and queries of every evaluation set below a folder."""

    def __init__(self, folder: Path) -> None:
        self._sequences: set[bytes] = set()
        self._titles: set[str] = set()
        corpora = sorted(folder.glob("*/corpus.jsonl.gz"))
        if not corpora:
            raise SystemExit(f"no evaluation sets in {folder}")
        for corpus in corpora:
            with gzip.open(corpus, "rt", encoding="utf-8") as lines:
                for document in map(json.loads, lines):
                    title = document.get("title") or ""
                    self._add(f"{title} {document['text']}", title, 5)
            with (corpus.parent / "queries.jsonl").open(encoding="utf-8") as lines:
                for query in map(json.loads, lines):
                    self._add(query["text"], query["text"], 4)

    def _add(self, text: str, title: str, least: int) -> None:
        """Note a text, and its title if that has so many words."""
        self._sequences.update(_sequences(words(text)))
        named = words(title)
        if len(named) >= least:
            self._titles.add(" ".join(named))

    def holds(self, title: str, text: str) -> bool:
        """Whether a passage has a title or query of theirs, or shares ten sequences or three in ten."""
        shared = [sequence in self._sequences for sequence in _sequences(words(text))]
        return (
            " ".join(words(title)) in self._titles
            or sum(shared) >= 10
            or (any(shared) and sum(shared) >= 0.3 * len(shared))
        )
