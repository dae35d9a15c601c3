"""ONNX Runtime and OpenVINO on the plain padded graph, given every help that a careful user gives.

Pairs are sorted by length and padded in small batches, threads do not spin, and quantized models are made
with the projects' own tools: dynamic int8 by channel (ONNX Runtime), static int8 by NNCF (OpenVINO).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.bench.padded_graph import padded_graph
from tinyrerank.bench.workload import Workload
from tinyrerank.engine.packing import gather, group
from tinyrerank.errors import MissingExtraError
from tinyrerank.model.weights import load_weights

BATCH_TOKENS = 2048
_CALIBRATION_PAIRS = 40
_MASKED = -1e9
Ids = NDArray[np.int32]
Feed = dict[str, NDArray[Any]]


class PaddedEngine:
    """Sorts, pads and batches around a function that takes a padded feed and gives logits (B,).

    Args:
        name: for reports.
        run: the function.
        max_length: the longest pair.
        in_order: batches of 64 in the caller's order, padded to their longest, as small rerankers do it.
    """

    def __init__(self, name: str, run: Any, max_length: int, *, in_order: bool = False) -> None:  # noqa: ANN401
        self.name, self._run, self.max_length, self._in_order = name, run, max_length, in_order

    def score(self, ids: Ids, cu_seqlens: Ids) -> NDArray[np.float32]:
        """Logits (n,) of packed sequences, padded inside."""
        n = len(cu_seqlens) - 1
        if self._in_order:
            groups = [np.arange(i, min(i + 64, n)) for i in range(0, n, 64)]
        else:
            groups = group(np.diff(cu_seqlens).astype(np.int64), max_tokens=BATCH_TOKENS, padded=True)
        logits = np.empty(n, np.float32)
        for members in groups:
            logits[members] = self._run(feed(*gather(ids, cu_seqlens, members)))
        return logits

    def close(self) -> None:
        """Let the model go."""
        self._run = None


def feed(ids: Ids, bounds: NDArray[np.int64]) -> Feed:
    """One padded batch as the graph takes it."""
    sizes = np.diff(bounds)
    real = np.arange(sizes.max()) < sizes[:, None]
    padded = np.zeros(real.shape, np.int64)
    padded[real] = ids
    mask = np.where(real, 0.0, _MASKED).astype(np.float32)[:, None, None, :]
    return {"ids": padded, "mask": mask, "positions": np.arange(real.shape[1], dtype=np.float32)}


def prepare_graph(folder: Path, out: Path) -> None:
    """Write the float32 graph of a model folder, once."""
    if not out.exists():
        out.write_bytes(padded_graph(load_weights(folder)))


def prepare_onnx_int8(folder: Path, out: Path) -> None:
    """Dynamic int8 by channel, made by ONNX Runtime's own tool."""
    if out.exists():
        return
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError:
        raise MissingExtraError("the peer onnxruntime:int8 (and the package onnx)", "bench") from None
    plain = out.with_suffix(".plain.onnx")
    prepare_graph(folder, plain)
    quantize_dynamic(
        plain, out, per_channel=True, weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"]
    )


def prepare_openvino_int8(folder: Path, out: Path, sample: Workload) -> None:
    """Static int8 by NNCF, calibrated on the workload's own pairs."""
    if out.exists():
        return
    try:
        import nncf
        import openvino
    except ImportError:
        raise MissingExtraError("the peer openvino:int8 (packages openvino and nncf)", "bench") from None
    model = openvino.Core().read_model(padded_graph(load_weights(folder)))
    chosen = np.argsort(sample.lengths, kind="stable")[:_CALIBRATION_PAIRS]
    pairs = [feed(*gather(sample.ids, sample.cu_seqlens, np.array([i], np.int64))) for i in chosen]
    quantized = nncf.quantize(
        model, nncf.Dataset(pairs), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(pairs)
    )
    openvino.save_model(quantized, out, compress_to_fp16=False)


def load_onnxruntime(model: Path, *, threads: int, max_length: int, in_order: bool = False) -> PaddedEngine:
    """A session on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])

    def run(batch: Feed) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = session.run(None, batch)[0]
        return logits

    return PaddedEngine("onnxruntime", run, max_length, in_order=in_order)


def load_openvino(model: Path | Any, precision: str, *, threads: int, max_length: int) -> PaddedEngine:  # noqa: ANN401
    """A compiled model on the CPU; ``precision`` is ``f32`` or ``bf16``, for what is not quantized."""
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("the peer openvino", "bench") from None
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model) if isinstance(model, Path) else model,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        },
    )
    request = compiled.create_infer_request()

    def run(batch: Feed) -> NDArray[np.float32]:
        result = request.infer(list(batch.values()))
        logits: NDArray[np.float32] = next(iter(result.values())).reshape(-1).copy()
        return logits

    return PaddedEngine("openvino", run, max_length)
