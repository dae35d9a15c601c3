"""Everything that can be measured, by name: our engines, and others on the same weights.

A name is ``LIBRARY:VARIANT``, with ``@GEOMETRY`` for random weights of other dimensions: ``minilm-l6`` and
``minilm-l12`` (384 wide, 6 and 12 layers, plain GELU) or ``base`` (12 layers of 768).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinyrerank.bench.workload import Workload
from tinyrerank.engine import Engine, load_engine
from tinyrerank.errors import InputError
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.weights import expected_shapes, from_tensors

GEOMETRIES = {
    "minilm-l6": ModelConfig(n_layers=6, feed_forward="original"),
    "minilm-l12": ModelConfig(n_layers=12, feed_forward="original"),
    "base": ModelConfig(hidden_size=768, n_layers=12, intermediate_size=3072),
}
#: What stands for a library alone, when it is named without a variant.
_FIRST = {
    "native": "int8",
    "onnx": "int8",
    "onnxruntime": "int8",
    "openvino": "bf16",
    "llama-cpp": "q8",
    "torch": "sdpa-bf16",
    "cross-encoder": "minilm-l6",
}
VARIANTS = {
    "native": ("int8", "bf16", "fp32"),
    "onnx": ("int8", "fp32"),
    "onnxruntime": ("int8", "fp32", "in-order"),
    "openvino": ("bf16", "int8", "fp32", "sdpa-bf16"),
    "torch": ("sdpa-bf16", "sdpa-fp32", "eager-bf16", "eager-fp32", "compile-bf16", "hf"),
    "llama-cpp": ("q8", "bf16"),
    "cross-encoder": ("minilm-l6", "minilm-l12"),
}
#: Pairs of one workload that calibrate static quantization.
Sample = Callable[[], Workload]


@dataclass(frozen=True, slots=True)
class Peer:
    """One thing to measure.

    Attributes:
        name: as the user wrote it, variant added.
        package: a key of :data:`VARIANTS`.
        variant: one of its variants.
        geometry: a key of :data:`GEOMETRIES`, or empty for the model under test.
    """

    name: str
    package: str
    variant: str
    geometry: str

    @property
    def ours(self) -> bool:
        """Whether it is our own engine."""
        return self.package == "native"

    @property
    def texts_only(self) -> bool:
        """Whether it takes texts, not token ids, so that only end to end can be measured."""
        return self.package == "cross-encoder"

    def folder(self, model: Path, work: Path) -> Path:
        """The weights folder that it reads."""
        return work / f"random-{self.geometry}" if self.geometry else model

    def artefact(self, model: Path, work: Path) -> Path:
        """The file that :meth:`prepare` makes for it, if any; its name changes with the weights."""
        folder = self.folder(model, work)
        stamp = hashlib.sha256((folder / "config.json").read_bytes())
        weights = (folder / "model.safetensors").stat()
        stamp.update(f"{weights.st_size} {weights.st_mtime_ns}".encode())
        return work / f"{self.package}-{self.variant}-{stamp.hexdigest()[:12]}"

    def prepare(self, model: Path, work: Path, sample: Sample) -> None:
        """Make, once, what loading takes for granted: random weights, exported or quantized models."""
        folder = self.folder(model, work)
        if self.geometry and not folder.exists():
            _random_model(GEOMETRIES[self.geometry], model, folder)
        out = self.artefact(model, work)
        if self.package == "onnxruntime":
            from tinyrerank.bench.peer_graph import prepare_graph, prepare_onnx_int8

            (prepare_onnx_int8 if self.variant == "int8" else prepare_graph)(folder, out.with_suffix(".onnx"))
        elif self.package == "openvino" and self.variant == "int8":
            from tinyrerank.bench.peer_graph import prepare_openvino_int8

            prepare_openvino_int8(folder, out.with_suffix(".xml"), sample())
        elif self.package == "openvino" and self.variant != "sdpa-bf16":
            from tinyrerank.bench.peer_graph import prepare_graph

            prepare_graph(folder, out.with_suffix(".onnx"))
        elif self.package == "llama-cpp":
            from tinyrerank.bench.peer_llama import prepare_llama

            prepare_llama(folder, out.with_suffix(".gguf"), self.variant)
        elif self.package == "cross-encoder":
            from tinyrerank.bench.peer_cross_encoder import prepare_cross_encoder

            prepare_cross_encoder(model, out, self.variant)

    def load(self, model: Path, work: Path, *, threads: int) -> Engine:
        """Load it, ready to score token ids."""
        folder, file = self.folder(model, work), self.artefact(model, work)
        max_length = ModelConfig.from_folder(folder).max_length
        if self.package in ("native", "onnx"):
            return load_engine(folder, self.package, threads=threads, mode=self.variant)
        if self.package == "torch":
            from tinyrerank.bench.peer_torch import load_torch

            return load_torch(folder, self.variant, threads=threads)
        if self.package == "onnxruntime":
            from tinyrerank.bench.peer_graph import load_onnxruntime

            in_order = self.variant == "in-order"
            return load_onnxruntime(
                file.with_suffix(".onnx"), threads=threads, max_length=max_length, in_order=in_order
            )
        if self.package == "llama-cpp":
            from tinyrerank.bench.peer_llama import LlamaEngine

            return LlamaEngine(folder, file.with_suffix(".gguf"), threads=threads)
        from tinyrerank.bench.peer_graph import load_openvino

        precision = "bf16" if self.variant.endswith("bf16") else "f32"
        if self.variant == "sdpa-bf16":
            from tinyrerank.bench.peer_torch import openvino_from_torch

            return load_openvino(
                openvino_from_torch(folder), precision, threads=threads, max_length=max_length
            )
        source = file.with_suffix(".xml" if self.variant == "int8" else ".onnx")
        return load_openvino(source, precision, threads=threads, max_length=max_length)


def parse(names: str) -> list[Peer]:
    """Read a list such as ``native,onnxruntime:fp32,native:int8@base``.

    Raises:
        InputError: a name is not known; says which are.
    """
    return [_parse_one(name.strip()) for name in names.split(",") if name.strip()]


def _parse_one(name: str) -> Peer:
    plain, _, geometry = name.partition("@")
    package, _, variant = plain.partition(":")
    variant = variant or _FIRST.get(package, "")
    if package not in VARIANTS or variant not in VARIANTS[package]:
        known = "; ".join(f"{key}: {', '.join(values)}" for key, values in VARIANTS.items())
        raise InputError(f"no engine {name!r} to measure; known, as LIBRARY:VARIANT: {known}")
    if geometry and geometry not in GEOMETRIES:
        raise InputError(f"no geometry {geometry!r} in {name!r}; known: {', '.join(GEOMETRIES)}")
    return Peer(f"{package}:{variant}" + (f"@{geometry}" if geometry else ""), package, variant, geometry)


def _random_model(config: ModelConfig, model: Path, out: Path) -> None:
    """A folder of random weights in the int8 form, with the model's own tokenizer."""
    rng = np.random.default_rng(0)
    tensors = {
        name: (1.0 if name.endswith("orm.weight") else 0.0)
        + 0.02 * rng.standard_normal(shape, dtype=np.float32)
        for name, shape in expected_shapes(config, 1).items()
    }
    from_tensors(config, tensors, str(out)).to_int8().save(out)
    (out / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
