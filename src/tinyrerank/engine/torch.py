"""The torch engine: the readable module of ``tinyrerank.model.jinabert``, on the CPU or a CUDA device."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tinyrerank.engine.packing import check, gather, group
from tinyrerank.engine.threads import thread_count
from tinyrerank.errors import EngineError, InputError, MissingExtraError, ModelError
from tinyrerank.model.weights import Weights, load_weights

if TYPE_CHECKING:
    from torch import Tensor

Dtype = Literal["auto", "fp32", "bf16"]

#: Tokens in a padded group, and attention cells (sequences x length x length), by kind of device. Each cell
#: costs a float of bias a head: 2**22 cells of 12 heads are 200 MB.
MAX_GROUP_TOKENS = {"cpu": 4096, "cuda": 65536}
MAX_GROUP_CELLS = {"cpu": 2**22, "cuda": 2**25}


class TorchEngine:
    """JinaBERT in torch, in padded groups of like length.

    Args:
        weights: the model, in either form; computes with float32 weights.
        threads: torch's CPU threads, for the whole process; None for all usable CPUs.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: ``fp32``, ``bf16`` (products in bfloat16, residuals and logits in float32), or ``auto``: bf16
            on CUDA, fp32 on the CPU.

    Raises:
        MissingExtraError: torch is not installed.
        EngineError: the device is not there.
        InputError: a setting is not among those named above.
        ModelError: the model has several labels.
    """

    name = "torch"

    def __init__(
        self, weights: Weights, *, threads: int | None = None, device: str = "cpu", dtype: Dtype = "auto"
    ) -> None:
        try:
            import torch

            from tinyrerank.model.jinabert import JinaBert
        except ModuleNotFoundError as error:
            if error.name != "torch":
                raise
            raise MissingExtraError("the torch engine", "torch") from None
        kind = device.partition(":")[0]
        if kind not in MAX_GROUP_TOKENS:
            raise InputError(f"device is {device!r}; the torch engine knows cpu, cuda and cuda:N")
        if dtype not in get_args(Dtype):
            raise InputError(f"dtype is {dtype!r}; the torch engine knows {', '.join(get_args(Dtype))}")
        if kind == "cuda" and not torch.cuda.is_available():
            raise EngineError("device is 'cuda', but torch sees no CUDA device here; use device 'cpu'")
        if weights.n_labels != 1:
            raise ModelError(f"this model has {weights.n_labels} labels; a reranker has exactly 1")
        self.max_length = weights.config.max_length
        self.dtype: Dtype = ("bf16" if kind == "cuda" else "fp32") if dtype == "auto" else dtype
        self.device = torch.device(device)
        if kind != "cpu":  # scores kept by an engine's name are not those of another device
            self.name = f"torch on {kind}"
        self._vocab_size = weights.config.vocab_size
        torch.set_num_threads(thread_count(threads))
        self._torch = torch
        self._model: Any = JinaBert.from_weights(weights).to(self.device)
        head: list[Any] = [self._model.bert.pooler, self._model.classifier]
        for part in head:
            part.forward = self._in_float32(part.forward)
        self._lock = threading.Lock()

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits (n,) of packed sequences; see :class:`~tinyrerank.engine.base.Engine`."""
        lengths = check(ids, cu_seqlens, vocab_size=self._vocab_size, max_length=self.max_length)
        kind = self.device.type
        groups = group(
            lengths, max_tokens=MAX_GROUP_TOKENS[kind], padded=True, max_cells=MAX_GROUP_CELLS[kind]
        )
        logits = np.empty(len(lengths), np.float32)
        parts = [self._run(*gather(ids, cu_seqlens, members)) for members in groups]
        for members, part in zip(groups, parts, strict=True):  # the device runs ahead; wait for it only now
            logits[members] = part.cpu().numpy()
        return logits

    def close(self) -> None:
        """Free the model, once the group now running is done."""
        with self._lock:
            self._model = None

    def _in_float32(self, forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """The head outside of bf16, which would round logits to 8 bits and tie them."""

        def exact(x: Tensor) -> Tensor:
            with self._torch.autocast(self.device.type, enabled=False):
                return forward(x.float())

        return exact

    def _run(self, ids: NDArray[np.int32], bounds: NDArray[np.int64]) -> Tensor:
        """Logits (m,) of one group, on the device; one at a time, so that callers share the memory bound."""
        torch = self._torch
        lengths = bounds[1:] - bounds[:-1]
        real = np.arange(lengths.max()) < lengths[:, None]  # (m, longest)
        padded = np.zeros(real.shape, np.int64)
        padded[real] = ids
        mask = None if real.all() else torch.from_numpy(real).to(self.device)
        bf16 = self.dtype == "bf16"
        with (
            self._lock,
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=bf16),
        ):
            if self._model is None:
                raise EngineError("the torch engine is closed; load it again")
            try:
                logits: Tensor = self._model(torch.from_numpy(padded).to(self.device), mask)
            except RuntimeError as error:  # out of memory, above all
                raise EngineError(f"torch failed on {real.size} tokens: {error}") from error
        return logits[:, 0].float()


def load(
    folder: str | Path, *, threads: int | None = None, device: str = "cpu", dtype: Dtype = "auto"
) -> TorchEngine:
    """Load a model folder; see :class:`TorchEngine`."""
    return TorchEngine(load_weights(folder), threads=threads, device=device, dtype=dtype)
