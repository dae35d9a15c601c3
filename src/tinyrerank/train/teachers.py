"""A teacher: one folder, and all that it can say of a list."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyrerank.errors import DataError
from tinyrerank.progress import Progress
from tinyrerank.train.cache import Cache, digest_rows, identity, identity_of, pair_digests
from tinyrerank.train.encoders import (
    CrossTeacher,
    TeacherText,
    embed,
    load_backbone,
    ready_cross,
    similarities,
)
from tinyrerank.train.late import late_interaction
from tinyrerank.train.pool import Pool
from tinyrerank.train.recipe import TeacherRecipe
from tinyrerank.train.tokens import DeviceText, Flat, PairBuilder

_CHUNK = 4_096  # texts embedded between two writes to the cache
_PAIR_CHUNK = 262_144  # pairs compared between two: every time the queries are read anew


class Teacher:
    """One teacher folder: embeddings of the pool, late interaction, and the cross-encoder.

    Args:
        recipe: which folder, and how it is used.
        pool: whose texts it reads.
        device: where it computes.
        cache: folder of answers kept by content; nothing found there is computed again.
    """

    def __init__(self, recipe: TeacherRecipe, pool: Pool, device: torch.device, cache: Path) -> None:
        if recipe.pooling not in ("mean", "first"):
            raise DataError(f"{recipe.folder}: pooling is {recipe.pooling!r}; known: mean, first")
        self.recipe, self.device, self.cache = recipe, device, cache
        self.folder = Path(recipe.folder)
        self.name = self.folder.name
        self.text = TeacherText(self.folder)
        self.micro_tokens = 65_536 if device.type == "cuda" else 4_096
        self.queries, self.passages = self.encode([q.text for q in pool.queries], pool.passages)
        ready = recipe.cross_weight and not recipe.minutes
        self.cross: CrossTeacher | None = ready_cross(self.folder, self.text, device) if ready else None

    @cached_property
    def query_vectors(self) -> Tensor:
        """Of the pool's queries, (n, width)."""
        return self.embed(self.queries)

    @cached_property
    def passage_vectors(self) -> Tensor:
        """Of the pool's passages, (m, width)."""
        return self.embed(self.passages)

    def encode(self, queries: list[str], passages: list[str]) -> tuple[Flat, Flat]:
        """Ids of both in its own tokens, behind its prefixes."""
        recipe = self.recipe
        return (
            self.text.encode(queries, recipe.query_prefix),
            self.text.encode(passages, recipe.passage_prefix),
        )

    def embed(self, flat: Flat) -> Tensor:
        """Unit vectors of texts, (n, width) on the device, from the cache where they are there."""
        longest = self.recipe.max_length
        name = identity(self.folder, kind=f"{self.recipe.pooling} pooling", max_length=longest)
        store = Cache(self.cache, name, self.text.width, np.float16)
        keys = digest_rows(flat.ids, flat.offsets, longest - 2)
        missing = ~store.find(keys)[0]
        n_tokens = int(flat.lengths[missing].clip(max=longest - 2).sum())
        progress = Progress(n_tokens, "tokens", name=f"{self.name} embeds")
        backbone = load_backbone(self.folder) if missing.any() else None

        def answer(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            vectors = embed(
                backbone,
                self.text.template,
                flat.take(rows),
                self.device,
                pooling=self.recipe.pooling,
                max_length=longest,
                micro_tokens=self.micro_tokens,
                progress=progress,
            )
            return vectors.cpu().numpy()

        values = store.fill(keys, answer, _CHUNK)
        progress.close(f"{(~missing).sum():,} of {len(keys):,} texts were embedded before")
        kind = torch.float16 if self.device.type == "cuda" else torch.float32
        return torch.from_numpy(values.astype(np.float32)).to(self.device, kind)

    def cosines(self, query: NDArray[np.int32], candidate: NDArray[np.int32]) -> NDArray[np.float32]:
        """Similarities (L, K) of lists of the pool."""
        return similarities(self.query_vectors, self.passage_vectors, candidate, query)

    def opinions(
        self,
        query: NDArray[np.int32],
        candidate: NDArray[np.int32],
        queries: Flat | None = None,
        passages: Flat | None = None,
    ) -> dict[str, tuple[float, NDArray[np.float32]]]:
        """Weights and scores (L, K) of lists, without any training: cosines and late interaction, as wanted.

        Args:
            query: of each list, (L,).
            candidate: passages of each list, (L, K), -1 at padding.
            queries: other texts than the pool's that ``query`` counts.
            passages: other texts than the pool's that ``candidate`` counts.
        """
        found: dict[str, tuple[float, NDArray[np.float32]]] = {}
        if self.recipe.weight:
            vectors = (
                self.query_vectors if queries is None else self.embed(queries),
                self.passage_vectors if passages is None else self.embed(passages),
            )
            cosines = similarities(*vectors, candidate, query)
            found[f"{self.name} cosine"] = (self.recipe.weight, cosines)
        if self.recipe.late_weight:
            late = self._late(query, candidate, queries or self.queries, passages or self.passages)
            found[f"{self.name} late interaction"] = (self.recipe.late_weight, late)
        return found

    def _late(
        self, query: NDArray[np.int32], candidate: NDArray[np.int32], queries: Flat, passages: Flat
    ) -> NDArray[np.float32]:
        """Late interaction (L, K) of lists, 0 at padding, from the cache where it is there."""
        longest, real = self.recipe.max_length, candidate >= 0
        store = Cache(
            self.cache, identity(self.folder, kind="late interaction", max_length=longest), 1, np.float32
        )
        pairs = np.broadcast_to(query[:, None], real.shape)[real], candidate[real]
        # Passage by passage: whatever is asked about one is asked at once, and it is read once.
        order = np.argsort(pairs[1], kind="stable")
        pairs = pairs[0][order], pairs[1][order]
        keys = pair_digests(
            digest_rows(queries.ids, queries.offsets, longest - 2)[pairs[0]],
            digest_rows(passages.ids, passages.offsets, longest - 2)[pairs[1]],
        )
        missing = int((~store.find(keys)[0]).sum())
        progress = Progress(missing, "pairs", name=f"{self.name} compares tokens")
        backbone = load_backbone(self.folder) if missing else None

        def answer(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            return late_interaction(
                backbone,
                self.text.template,
                queries,
                passages,
                (pairs[0][rows], pairs[1][rows]),
                self.device,
                max_length=longest,
                micro_tokens=self.micro_tokens,
                progress=progress,
            )[:, None]

        out = np.zeros(real.shape, dtype=np.float32)
        answers = np.zeros(len(order), dtype=np.float32)
        answers[order] = store.fill(keys, answer, _PAIR_CHUNK)[:, 0]
        out[real] = answers
        progress.close(f"{len(keys) - missing:,} of {len(keys):,} pairs were compared before")
        return out

    def builder(self, queries: Flat | None = None, passages: Flat | None = None) -> PairBuilder:
        """Pairs of the pool, or of other texts, for the cross-encoder."""
        return PairBuilder(
            DeviceText(queries or self.queries, self.device),
            DeviceText(passages or self.passages, self.device),
            self.text.template,
            self.recipe.max_length,
        )

    def cross_store(self) -> tuple[Cache, NDArray[np.void], NDArray[np.void]]:
        """The cross-encoder's kept logits, and the digests of queries and passages that their keys join."""
        assert self.cross is not None  # noqa: S101 - trained before it is asked
        longest = self.recipe.max_length
        name = identity_of(self.cross.state_dict(), kind="cross-encoder", max_length=longest)
        return (
            Cache(self.cache, name, 1, np.float32),
            digest_rows(self.queries.ids, self.queries.offsets, longest // 2),
            digest_rows(self.passages.ids, self.passages.offsets, longest),
        )
