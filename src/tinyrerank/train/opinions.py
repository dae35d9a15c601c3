"""Teachers for fine-tuning: a bi-encoder's cosines, or the logits of a larger model of our own form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import ModelError
from tinyrerank.evaluate.biencoder import BiEncoder
from tinyrerank.progress import Progress
from tinyrerank.train.cache import Cache, digests, identity
from tinyrerank.train.finetune import Score, Teacher
from tinyrerank.train.pool import Pool

_CHUNK = 512


def open_teacher(folder: Path, pool: Pool, score: Score, cache: Path, max_length: int) -> Teacher:
    """A teacher of the pool's lists.

    Args:
        folder: a BERT bi-encoder (mean pooling, cosine), or a JinaBERT reranker.
        pool: whose texts it judges.
        score: ranks with a reranker folder.
        cache: embeddings are kept here by content.
        max_length: tokens that a reranker reads of a pair.

    Raises:
        ModelError: the folder is neither.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: not a model folder ({error}); give a bi-encoder or a reranker") from None
    if config.get("position_embedding_type") == "alibi":
        return _reranker(folder, pool, score, max_length)
    return _bi_encoder(folder, pool, cache)


def _bi_encoder(folder: Path, pool: Pool, cache: Path) -> Teacher:
    encoder = BiEncoder(folder)
    name = identity(folder, kind="bi-encoder", max_length=encoder.max_length)
    width = int(encoder.config["hidden_size"])

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        keys = digests(text.encode(errors="replace") for text in texts)
        progress = Progress(len(texts), "texts", name=f"{folder.name} embeds")

        def answer(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            found = encoder.embed([texts[r] for r in rows])
            progress.advance(len(rows))
            return found

        found = Cache(cache, name, width, np.float16).fill(keys, answer, _CHUNK)
        return found.astype(np.float32)

    def cosines(query: NDArray[np.int32], candidate: NDArray[np.int32]) -> NDArray[np.float32]:
        # Only what the lists name is embedded: a corpus may be far larger.
        asked, q = np.unique(query, return_inverse=True)
        named, p = np.unique(candidate, return_inverse=True)  # -1 stands for the last passage, and is masked
        queries = vectors([pool.queries[n].text for n in asked])
        passages = vectors([pool.passages[n] for n in named])
        scores = np.einsum("qd,qkd->qk", queries[q], passages[p.reshape(candidate.shape)])
        return np.where(candidate >= 0, scores, 0).astype(np.float32)

    return cosines


def _reranker(folder: Path, pool: Pool, score: Score, max_length: int) -> Teacher:
    def logits(query: NDArray[np.int32], candidate: NDArray[np.int32]) -> NDArray[np.float32]:
        real = candidate >= 0
        numbers = np.broadcast_to(query[:, None], real.shape)[real]
        pairs = [
            (pool.queries[q].text, pool.passages[p]) for q, p in zip(numbers, candidate[real], strict=True)
        ]
        scores = np.zeros(real.shape, dtype=np.float32)
        scores[real] = score(folder, pairs, max_length)
        return scores

    return logits
