"""Scores of pairs that were computed before, by the content of the pair; bounded, the least used go first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

from tinyrerank.serve.request import Outcome, Reading

Key = bytes


def pair_keys(model: str, reading: Reading, pairs: Iterable[tuple[str, str]]) -> list[Key]:
    """A key for each (query, text) pair: equal exactly if model, limits, query and text are.

    Args:
        model: the model's own name.
        reading: limits that decide what is read.
        pairs: consecutive equal queries are hashed once.
    """
    keys: list[Key] = []
    query: str | None = None
    base = hashlib.blake2b(digest_size=16)
    for each, text in pairs:
        if each != query:
            query = each
            raw = query.encode(errors="surrogatepass")
            base = hashlib.blake2b(repr((model, reading, len(raw))).encode(), digest_size=16)
            base.update(raw)
        state = base.copy()
        state.update(text.encode(errors="surrogatepass"))
        keys.append(state.digest())
    return keys


class ScoreCache:
    """Outcomes by key; not for several threads.

    Args:
        max_entries: how many to keep; 0 keeps none.
    """

    def __init__(self, max_entries: int) -> None:
        self.max_entries = max_entries
        self._entries: OrderedDict[Key, Outcome] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Outcome | None:
        """The outcome of a pair, which then counts as used."""
        outcome = self._entries.get(key)
        if outcome is not None:
            self._entries.move_to_end(key)
        return outcome

    def put(self, key: Key, outcome: Outcome) -> None:
        """Keep a score; problems are not kept."""
        if self.max_entries == 0 or outcome.problem is not None:
            return
        self._entries[key] = outcome
        self._entries.move_to_end(key)
        if len(self._entries) > self.max_entries:
            self._entries.popitem(last=False)
