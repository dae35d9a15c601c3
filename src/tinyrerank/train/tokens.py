"""Token ids of many texts in one flat array, and batches of pairs cut from it on the training device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Flat:
    """Ids of n texts one after the other: text i is ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text, (n,)."""
        lengths: NDArray[np.int64] = np.diff(self.offsets)
        return lengths

    def slice(self, start: int, stop: int) -> Flat:
        """Texts start..stop."""
        lo, hi = self.offsets[start], self.offsets[stop]
        return Flat(self.ids[lo:hi], self.offsets[start : stop + 1] - lo)

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> Flat:
        """The texts of these numbers, in their order."""
        parts = [self.ids[self.offsets[r] : self.offsets[r + 1]] for r in rows]
        ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        return Flat(ids, np.cumsum([0, *map(len, parts)]).astype(np.int64))

    @classmethod
    def joined(cls, flats: Sequence[Flat]) -> Flat:
        """The texts of all of them, one after the other."""
        lengths = np.concatenate([flat.lengths for flat in flats])
        return cls(np.concatenate([flat.ids for flat in flats]), np.concatenate([[0], np.cumsum(lengths)]))


def encode(tokenizer: Tokenizer, texts: Sequence[str], batch: int = 4096) -> Flat:
    """Encode texts without specials."""
    parts, lengths = [], []
    for start in range(0, len(texts), batch):
        for encoding in tokenizer.encode_batch_fast(
            list(texts[start : start + batch]), add_special_tokens=False
        ):
            parts.append(np.asarray(encoding.ids, dtype=np.int32))
            lengths.append(len(parts[-1]))
    ids = np.concatenate(parts) if parts else np.zeros(0, np.int32)
    return Flat(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def punctuation(tokenizer: Tokenizer) -> NDArray[np.bool_]:
    """Which token ids stand for punctuation and nothing else, (vocabulary,)."""
    found = np.zeros(max(tokenizer.get_vocab().values()) + 1, dtype=np.bool_)
    for number in tokenizer.get_vocab().values():
        text = tokenizer.decode([number]).strip()
        found[number] = bool(text) and not any(c.isalnum() or c == "\ufffd" for c in text)
    return found


@dataclass(frozen=True, slots=True)
class Template:
    """Special tokens around a pair: ``start query *middle document end``, padded with ``pad``."""

    start: int = 0
    middle: tuple[int, ...] = (2, 2)
    end: int = 2
    pad: int = 1

    @property
    def n_specials(self) -> int:
        """Tokens of a pair that are neither query nor document."""
        return 2 + len(self.middle)


class DeviceText:
    """A :class:`Flat` on the training device."""

    def __init__(self, flat: Flat, device: torch.device) -> None:
        self.ids = torch.from_numpy(flat.ids).to(device)
        self.starts = torch.from_numpy(flat.offsets[:-1].copy()).to(device)
        self.lengths = torch.from_numpy(flat.lengths).to(device)

    def without(self, gone: Tensor) -> DeviceText:
        """The same texts without the tokens whose id is True in ``gone`` (vocabulary,)."""
        keep = ~gone[self.ids.long()]
        before = torch.cat([keep.new_zeros(1, dtype=torch.int64), keep.cumsum(0)])
        out = DeviceText.__new__(DeviceText)
        out.ids = self.ids[keep]
        out.starts = before[self.starts]
        out.lengths = before[self.starts + self.lengths] - out.starts
        return out


@dataclass(slots=True)
class PairBuilder:
    """Makes padded batches of (query, document) pairs by index arithmetic, where the ids already are.

    Attributes:
        queries: query texts.
        passages: document texts.
        template: special tokens.
        max_length: tokens of a pair; only the document is cut, and a query is cut at half of it.
    """

    queries: DeviceText
    passages: DeviceText
    template: Template
    max_length: int

    def bare(self, dropped: NDArray[np.bool_]) -> PairBuilder:
        """The same texts without the tokens of these ids."""
        gone = torch.from_numpy(dropped).to(self.queries.ids.device)
        return replace(self, queries=self.queries.without(gone), passages=self.passages.without(gone))

    def lengths(self, query: Tensor, passage: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens that pairs keep of query and document, each (n,)."""
        n_query = self.queries.lengths[query].clamp(max=self.max_length // 2)
        room = self.max_length - self.template.n_specials - n_query
        return n_query, torch.minimum(self.passages.lengths[passage], room)

    def build(self, query: Tensor, passage: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and mask, (n, T) each, T the longest pair rounded up to 8."""
        n_query, n_passage = self.lengths(query, passage)
        return join(
            self.template,
            (self.queries.ids, self.queries.starts[query], n_query),
            (self.passages.ids, self.passages.starts[passage], n_passage),
        )


def join(
    template: Template, first: tuple[Tensor, Tensor, Tensor], second: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Join two slices a row into padded pairs.

    Args:
        template: special tokens.
        first: flat ids, start of each slice (n,), length of each slice (n,).
        second: likewise.

    Returns:
        Ids (n, T) int64 and mask (n, T) bool.
    """
    (a_ids, a_start, a_len), (b_ids, b_start, b_len) = first, second
    n_middle = len(template.middle)
    total = a_len + b_len + template.n_specials
    width = -(-int(total.max()) // 8) * 8
    position = torch.arange(width, device=a_ids.device)[None, :]
    b_at = (1 + a_len + n_middle)[:, None]
    ids = torch.full((len(a_len), width), template.pad, dtype=torch.int64, device=a_ids.device)
    in_a = (position >= 1) & (position <= a_len[:, None])
    in_b = (position >= b_at) & (position < b_at + b_len[:, None])
    ids[in_a] = a_ids[(a_start[:, None] + position - 1)[in_a]].long()
    ids[in_b] = b_ids[(b_start[:, None] + position - b_at)[in_b]].long()
    ids[:, 0] = template.start
    for n, special in enumerate(template.middle):
        ids.scatter_(1, (1 + a_len + n)[:, None], special)
    ids.scatter_(1, (total - 1)[:, None], template.end)
    return ids, position < total[:, None]


def by_length(lengths: Tensor, micro_tokens: int) -> Iterator[Tensor]:
    """Split rows into batches of similar length: at most ``micro_tokens`` tokens with padding, or one row."""
    order = torch.argsort(lengths, descending=True)
    longest = lengths[order].tolist()
    start = 0
    while start < len(longest):
        stop = start + max(1, micro_tokens // max(1, longest[start]))
        yield order[start:stop]
        start = stop
