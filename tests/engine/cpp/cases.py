"""Writes what the C++ driver checks the engine with: prepared weights, packed ids, and the twin's logits.

    python tests/engine/cpp/cases.py FOLDER

A case is little-endian: ``TRCASE1`` and a newline; 8 int32 of geometry, feed-forward kind, layers and longest
input; float32 epsilon; the arrays (name, type, shape, data); ids; bounds; float64 logits. See ``driver.cpp``.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "engine"), str(ROOT / "src")]

from packed import MODEL, pack, sequences  # noqa: E402

import twin  # noqa: E402 - found on the path set above
from conftest import random_weights  # noqa: E402
from tinyrerank.engine.native.prepare import prepare  # noqa: E402
from tinyrerank.model.config import ModelConfig  # noqa: E402
from tinyrerank.model.weights import Weights  # noqa: E402

KINDS = ("geglu", "reglu", "original")
KEYS = ("hidden", "hidden_p", "heads", "head_p", "inter_p", "layers")
GEOMETRIES = {
    "geglu": MODEL,
    "original": replace(MODEL, feed_forward="original"),
    "long": MODEL,
    "one-layer": replace(MODEL, n_layers=1),
    "odd-heads": ModelConfig(vocab_size=150, hidden_size=39, n_layers=3, n_heads=13, intermediate_size=33),
    "tiny-width": ModelConfig(vocab_size=150, hidden_size=384, n_layers=2, n_heads=12, intermediate_size=384),
}
LENGTHS = [1, 40, 7, 280, 12, 3, 33]
LONG = [600, 5]


def case(weights: Weights, lengths: list[int], *, int8: bool) -> bytes:
    """One case as bytes."""
    c = weights.config
    parts = sequences(lengths)
    ids, cu = pack(parts)
    dense = (weights.to_int8() if int8 else weights).to_dense()
    logits = [
        twin.logits(
            dense.tensors,
            part,
            n_layers=c.n_layers,
            n_heads=c.n_heads,
            feed_forward=c.feed_forward,
            eps=c.layer_norm_eps,
        )[0]
        for part in parts
    ]
    geometry, arrays = prepare(weights.to_int8() if int8 else weights, int8=int8)
    numbers = [int(geometry[key]) for key in KEYS] + [KINDS.index(c.feed_forward), c.max_length]
    out = [b"TRCASE1\n", struct.pack("<8i f i", *numbers, c.layer_norm_eps, len(arrays))]
    out += [array_bytes(name, array) for name, array in arrays.items()]
    out += [struct.pack("<2i", len(ids), len(parts)), ids.tobytes(), cu.tobytes()]
    return b"".join([*out, np.array(logits, "<f8").tobytes()])


def array_bytes(name: str, array: NDArray[Any]) -> bytes:
    """One array: name, 1 for int8, dimensions, data."""
    head = struct.pack("<i", len(name)) + name.encode()
    head += struct.pack(f"<2i{array.ndim}q", array.dtype == np.int8, array.ndim, *array.shape)
    return head + array.tobytes()


def main(folder: Path) -> None:
    """Write all cases."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, config in GEOMETRIES.items():
        weights = random_weights(config, seed=3)
        for int8 in (False, True):
            path = folder / f"{name}-{'int8' if int8 else 'float'}.case"
            path.write_bytes(case(weights, LONG if name == "long" else LENGTHS, int8=int8))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
