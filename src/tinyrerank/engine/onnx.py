"""The ONNX Runtime engine: our own graph, built in memory from the model folder."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tinyrerank.engine._onnx_model import OnnxModel
from tinyrerank.engine.packing import check, gather, group
from tinyrerank.engine.threads import thread_count
from tinyrerank.errors import EngineError, InputError, MissingExtraError, ModelError
from tinyrerank.model.weights import Weights, load_weights

Mode = Literal["auto", "fp32", "int8"]

#: Tokens in a group: enough for full speed, few enough that a group's activations stay small.
MAX_GROUP_TOKENS = 1024
#: Attention scores alive at once (heads x queries x keys): 8 MB of float32, three times.
MAX_SCORES = 2**21
#: Queries in a piece at the least, however long the sequence: smaller products run slowly.
MIN_QUERIES = 32


class OnnxEngine:
    """JinaBERT on ONNX Runtime, on packed tokens without padding.

    Args:
        weights: the model, in either form.
        threads: threads for one call to ``score``; None for all usable CPUs.
        mode: ``fp32`` computes with the weights as stored (int8 ones multiplied out); ``int8`` rounds the
            activations too, token by token: about twice as fast, logits off by some hundredths.
            ``auto`` is ``fp32``, because it ranks exactly as the weights say.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        ModelError: the model has several labels.
        InputError: no such mode, or ``threads`` below 1.
    """

    name = "onnx"

    def __init__(self, weights: Weights, *, threads: int | None = None, mode: Mode = "auto") -> None:
        if mode not in get_args(Mode):
            raise InputError(f"mode is {mode!r}; the onnx engine knows {', '.join(get_args(Mode))}")
        if weights.n_labels != 1:
            raise ModelError(f"this model has {weights.n_labels} labels; a reranker has exactly 1")
        self.mode: Mode = "fp32" if mode == "auto" else mode
        self.threads = thread_count(threads)
        self.max_length = weights.config.max_length
        self._vocab_size = weights.config.vocab_size
        self._n_heads = weights.config.n_heads
        if self.mode == "int8":
            weights = weights.to_int8()
        self._session: Any = _open(OnnxModel(weights, int8=self.mode == "int8").encode(), self.threads)
        self._lock = threading.Lock()

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits (n,) of packed sequences; see :class:`~tinyrerank.engine.base.Engine`."""
        lengths = check(ids, cu_seqlens, vocab_size=self._vocab_size, max_length=self.max_length)
        logits = np.empty(len(lengths), np.float32)
        for members in group(lengths, max_tokens=MAX_GROUP_TOKENS, padded=False):
            logits[members] = self._run(*gather(ids, cu_seqlens, members))
        return logits

    def close(self) -> None:
        """Free the session, once the group now running is done."""
        with self._lock:
            self._session = None

    def _run(self, ids: NDArray[np.int32], bounds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of one group; one at a time, so that callers share the memory bound and the threads."""
        sequences = np.stack([bounds[:-1], bounds[1:]], axis=1)
        positions = np.arange(len(ids)) - np.repeat(bounds[:-1], np.diff(bounds))
        feed = {
            "ids": ids,
            "positions": positions.astype(np.float32),
            "sequences": sequences,
            "pieces": pieces(sequences, self._n_heads),
        }
        with self._lock:
            if self._session is None:
                raise EngineError("the onnx engine is closed; load it again")
            try:
                (logits,) = self._session.run(None, feed)
            except Exception as error:  # onnxruntime raises its own kinds, which share no root
                raise EngineError(f"onnxruntime failed on {len(ids)} tokens: {error}") from error
        result: NDArray[np.float32] = logits
        return result


def load(folder: str | Path, *, threads: int | None = None, mode: Mode = "auto") -> OnnxEngine:
    """Load a model folder; see :class:`OnnxEngine`."""
    return OnnxEngine(load_weights(folder), threads=threads, mode=mode)


def pieces(sequences: NDArray[np.int64], n_heads: int) -> NDArray[np.int64]:
    """Cut the queries of each sequence into blocks whose scores fit :data:`MAX_SCORES`.

    Returns:
        (pieces, 4): keys from, keys to, queries from, queries to, in token order.
    """
    table: list[tuple[int, int, int, int]] = []
    for start, end in sequences.tolist():
        block = max(MIN_QUERIES, MAX_SCORES // (n_heads * (end - start)))
        table += [(start, end, at, min(at + block, end)) for at in range(start, end, block)]
    return np.array(table, np.int64)


def _open(model: bytes, threads: int) -> Any:  # noqa: ANN401 - onnxruntime ships no types
    try:
        import onnxruntime  # optional, and slow to import
    except ImportError:
        raise MissingExtraError("the onnx engine", "onnx") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without VNNI, the fast products of unsigned and signed bytes saturate at 16 bits: wrong logits.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
