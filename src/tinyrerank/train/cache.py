"""What teachers said, kept on disk by content: no text is embedded and no pair is scored twice.

A file holds records of one width, each behind the 16-byte digest of what was asked. Its name is a digest of
who answered (weights and settings), so a changed teacher starts a file of its own. Records are only ever
appended, under a lock: a killed run loses its last chunk at most, and several runs may share a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.void]
_KEY_BYTES = 16

try:
    import fcntl
except ImportError:  # Windows: one run at a time then

    def _lock(file: BinaryIO) -> None:
        del file
else:

    def _lock(file: BinaryIO) -> None:
        """Wait until no other process appends; closing the file lets go."""
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)


def digest_rows(ids: NDArray[np.int32], offsets: NDArray[np.int64], longest: int) -> Keys:
    """Digests of the first ``longest`` ids of each text ``ids[offsets[i]:offsets[i + 1]]``, (n,)."""
    rows = zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)
    return digests(ids[lo : min(hi, lo + longest)].tobytes() for lo, hi in rows)


def digests(contents: Iterable[bytes]) -> Keys:
    """One digest for each content, (n,)."""
    joined = b"".join(hashlib.blake2b(c, digest_size=_KEY_BYTES).digest() for c in contents)
    return np.frombuffer(joined, dtype=f"V{_KEY_BYTES}")


def pair_digests(queries: Keys, passages: Keys) -> Keys:
    """Digests of pairs from the digests of their texts, (n,) each."""
    return digests(q.tobytes() + p.tobytes() for q, p in zip(queries, passages, strict=True))


def identity(folder: Path, **settings: Any) -> str:  # noqa: ANN401 - whatever JSON takes
    """A digest of a model folder's files and of the settings that its answers depend on."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json"):
        path = folder / name
        if path.exists():
            digest.update(name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:24]


def identity_of(state: Mapping[str, Any], **settings: Any) -> str:  # noqa: ANN401 - whatever JSON takes
    """A digest of a model in memory: torch tensors by name, and settings."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        digest.update(name.encode() + tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:24]


class Cache:
    """Vectors of one width by digest, in one append-only file.

    Args:
        folder: where caches lie; made when something is kept.
        name: who answers, from :func:`identity`.
        width: numbers of one answer.
        dtype: how they are kept (float16 for unit vectors, float32 for logits).
    """

    def __init__(self, folder: Path, name: str, width: int, dtype: type[np.floating[Any]]) -> None:
        self.path = folder / f"{name}.{width}{np.dtype(dtype).str[1:]}"
        self._record = np.dtype([("key", f"V{_KEY_BYTES}"), ("value", dtype, (width,))])
        self._read()

    def __len__(self) -> int:
        return len(self._sorted)

    def find(self, keys: Keys) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Which answers are here, (n,), and those, (number of them, width), in the order of ``keys``."""
        wanted = _comparable(keys)
        if not len(self._sorted):
            return np.zeros(len(keys), dtype=bool), np.zeros((0, *self._record["value"].shape))
        place = np.searchsorted(self._sorted, wanted).clip(max=len(self._sorted) - 1)
        here = self._sorted[place] == wanted
        return here, np.asarray(self._records["value"][self._order[place[here]]])

    def add(self, keys: Keys, values: NDArray[Any]) -> None:
        """Keep answers (n, width) on disk; whoever opens the cache next will find them."""
        records = np.zeros(len(keys), dtype=self._record)
        records["key"], records["value"] = keys, values
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            _lock(file)
            file.seek(0, os.SEEK_END)
            file.truncate(file.tell() // self._record.itemsize * self._record.itemsize)  # a torn last record
            file.write(records.tobytes())

    def fill(
        self, keys: Keys, answer: Callable[[NDArray[np.int64]], NDArray[Any]], chunk: int
    ) -> NDArray[Any]:
        """Answers to all keys, (n, width): those here, and the others by asking, a chunk at a time.

        Args:
            keys: what is asked, (n,).
            answer: from the places (m,) of unanswered keys in ``keys`` to their answers (m, width).
            chunk: questions asked before the answers are written.
        """
        _, first, place = np.unique(_comparable(keys), return_index=True, return_inverse=True)
        here, kept = self.find(keys[first])
        values = np.zeros((len(first), *self._record["value"].shape), dtype=self._record["value"].base)
        values[here] = kept
        missing = np.flatnonzero(~here)
        missing = missing[np.argsort(first[missing])]  # in the order of the questions
        for start in range(0, len(missing), chunk):
            part = missing[start : start + chunk]
            values[part] = answer(first[part])
            self.add(keys[first[part]], values[part])
        return values[place]

    def _read(self) -> None:
        n = self.path.stat().st_size // self._record.itemsize if self.path.exists() else 0
        self._records = (
            np.memmap(self.path, dtype=self._record, mode="r", shape=(n,)) if n else np.zeros(0, self._record)
        )
        keys = _comparable(self._records["key"])
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]


def _comparable(keys: Keys) -> NDArray[np.bytes_]:
    """Digests as byte strings, which numpy sorts; all have one length, so trailing zeros do no harm."""
    return np.ascontiguousarray(keys).view(f"S{_KEY_BYTES}")
