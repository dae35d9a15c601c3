"""The native engine: our own C++ kernels for exactly this architecture, in int8, bf16 or fp32.

``cpp/`` holds the source. The kernels are chosen when a model is loaded, by what the processor has: AMX,
AVX-512 with VNNI (and BF16), AVX2, 64-bit Arm with SDOT, or any other. A sequence's logit is the same, bit
for bit, whatever its neighbours, their order and the number of threads; it differs a little between modes
and processors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

import tinyrerank.engine.native._native as _native  # noqa: PLR0402 - where it was not built, its name is told
from tinyrerank.engine.native.prepare import prepare
from tinyrerank.engine.packing import check
from tinyrerank.engine.threads import thread_count
from tinyrerank.errors import EngineError, InputError, ModelError
from tinyrerank.model import Weights, load_weights

Mode = Literal["auto", "int8", "bf16", "fp32"]
Isa = Literal["auto", "amx", "avx512", "avx2", "neon", "portable"]
Attention = Literal["auto", "bf16", "fp32"]

#: Sequences are computed together up to this many tokens; it bounds the memory, at no cost in speed.
GROUP_TOKENS = 8192


class NativeEngine:
    """JinaBERT in C++, packed tokens, without padding.

    Args:
        weights: the model, in either form. Mode int8 takes the int8 form as it is and makes it from the
            other; the other modes compute with float weights.
        threads: threads for one call; None for all usable CPUs. Calls from several threads queue up.
        mode: type of the products with weights. ``int8`` (also ``auto``) is the fastest: activations in 8
            bits over the range of each token. ``bf16`` is closer to the exact logits, and ``fp32`` exact.
        isa: instruction set; ``auto`` takes the best of this machine.
        attention: type of the products in attention: ``auto`` is bf16 where the machine has it, but fp32 in
            mode ``fp32``.
        group_tokens: sequences are computed together up to this many tokens.

    Attributes:
        path: what it runs on, such as ``amx int8, attention bf16``.

    Raises:
        InputError: a setting is unknown.
        EngineError: this machine lacks what was asked for.
        ModelError: the model has several labels.
    """

    name = "native"

    def __init__(
        self,
        weights: Weights,
        *,
        threads: int | None = None,
        mode: Mode = "auto",
        isa: Isa = "auto",
        attention: Attention = "auto",
        group_tokens: int = GROUP_TOKENS,
    ) -> None:
        for what, given, known in (
            ("mode", mode, Mode),
            ("isa", isa, Isa),
            ("attention", attention, Attention),
        ):
            if given not in get_args(known):
                raise InputError(f"{what} is {given!r}; the native engine knows {', '.join(get_args(known))}")
        if group_tokens < 1:
            raise InputError(f"group_tokens is {group_tokens}; give 1 or more")
        if weights.n_labels != 1:
            raise ModelError(f"this model has {weights.n_labels} labels; a reranker has exactly 1")
        mode = "int8" if mode == "auto" else mode
        count = thread_count(threads)
        self.max_length = weights.config.max_length
        self._vocab_size = weights.config.vocab_size
        geometry, arrays = prepare(weights.to_int8() if mode == "int8" else weights, int8=mode == "int8")
        try:
            self._engine = _native.Engine(geometry, arrays, mode, isa, attention, count, group_tokens)
        except (ValueError, MemoryError) as error:
            raise EngineError(f"the native engine cannot be set up: {error}") from None
        self.path: str = self._engine.path

    @property
    def buffer_bytes(self) -> int:
        """Working memory held now; it grows to what the longest request needs, up to a bound."""
        return self._engine.buffer_bytes

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits (n,) of packed sequences; see :class:`~tinyrerank.engine.base.Engine`."""
        check(ids, cu_seqlens, vocab_size=self._vocab_size, max_length=self.max_length)
        logits = np.empty(len(cu_seqlens) - 1, dtype=np.float32)
        try:
            self._engine.score(np.ascontiguousarray(ids), np.ascontiguousarray(cu_seqlens), logits)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise EngineError(f"the native engine failed: {error}") from error
        return logits

    def close(self) -> None:
        """Stop the threads and free the buffers."""
        self._engine.close()


def load(
    folder: str | os.PathLike[str],
    *,
    threads: int | None = None,
    mode: Mode = "auto",
    isa: Isa = "auto",
    attention: Attention = "auto",
    group_tokens: int = GROUP_TOKENS,
) -> NativeEngine:
    """Load a model folder; the settings are those of :class:`NativeEngine`.

    Raises:
        ModelError: the folder is not a usable model.
        InputError: a setting is unknown.
        EngineError: this machine lacks what was asked for.
    """
    weights = load_weights(Path(folder))
    return NativeEngine(
        weights, threads=threads, mode=mode, isa=isa, attention=attention, group_tokens=group_tokens
    )


def peak_ops(mode: Mode, *, isa: Isa = "auto", threads: int | None = None, seconds: float = 0.3) -> float:
    """Operations a second (a multiplication and an addition are two) that the products' instructions reach.

    Measured on registers, without weights or activations: the machine's limit for a mode.

    Raises:
        EngineError: this machine lacks what was asked for.
    """
    try:
        return _native.peak_ops("int8" if mode == "auto" else mode, isa, thread_count(threads), seconds)
    except ValueError as error:
        raise EngineError(f"the peak cannot be measured: {error}") from None


load.detail = f"compiled, on {_native.best_isa()}"  # type: ignore[attr-defined]  # shown by available_engines
