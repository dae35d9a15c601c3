"""The tensors of a model folder: names and shapes of the official checkpoint, and our int8 form of them.

Int8 form: every matrix of :func:`quantizable` is stored as int8 ``name`` (rows, columns) with a float32
``name_scale`` (rows,), symmetric per output channel, so that ``W[r] = name_scale[r] * name[r]``; embedding
rows alike. Up projections are stored without their part along the direction v that the LayerNorm before them
makes constant (see :mod:`tinyrerank.model.hyperplane`), which a float32 ``name_shift`` (rows,) gives back:
``W[r] = name_scale[r] * name[r] + name_shift[r] * v``; files without it are read as well. Norms, biases, type
embeddings, pooler and classifier stay float32. The config declares the form.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import MissingExtraError, ModelError
from tinyrerank.model.config import ModelConfig
from tinyrerank.model.hyperplane import constant_direction, norm_before, split
from tinyrerank.model.safetensors import read_safetensors

_IGNORED_SUFFIXES = ("position_ids", "token_type_ids", ".alibi")
_SCALE = "_scale"
_SHIFT = "_shift"
#: A row that stays below this is taken for zeros: its scale would not be a normal float32.
_NOTHING = 1e-30


def expected_shapes(config: ModelConfig, n_labels: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the official layout (68 for tiny, 98 for turbo)."""
    h, i = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        "bert.embeddings.word_embeddings.weight": (config.vocab_size, h),
        "bert.embeddings.token_type_embeddings.weight": (config.type_vocab_size, h),
        "bert.embeddings.LayerNorm.weight": (h,),
        "bert.embeddings.LayerNorm.bias": (h,),
    }
    for n in range(config.n_layers):
        layer = f"bert.encoder.layer.{n}."
        for part in (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
        ):
            shapes[f"{layer}{part}.weight"] = (h, h)
            shapes[f"{layer}{part}.bias"] = (h,)
        if config.feed_forward == "original":
            shapes[layer + "intermediate.dense.weight"] = (i, h)
            shapes[layer + "intermediate.dense.bias"] = (i,)
            down, norm = "output.dense", "output.LayerNorm"
        else:
            shapes[layer + "mlp.gated_layers.weight"] = (2 * i, h)
            down, norm = "mlp.wo", "mlp.layernorm"
        shapes[f"{layer}{down}.weight"] = (h, i)
        shapes[f"{layer}{down}.bias"] = (h,)
        for name in ("attention.output.LayerNorm", norm):
            shapes[f"{layer}{name}.weight"] = (h,)
            shapes[f"{layer}{name}.bias"] = (h,)
    shapes["bert.pooler.dense.weight"] = (h, h)
    shapes["bert.pooler.dense.bias"] = (h,)
    shapes["classifier.weight"] = (n_labels, h)
    shapes["classifier.bias"] = (n_labels,)
    return shapes


def quantizable(names: Iterable[str]) -> list[str]:
    """The matrices that the int8 form stores in int8: word embeddings and the encoder's linear layers."""
    return [
        name
        for name in names
        if name == "bert.embeddings.word_embeddings.weight"
        or (name.startswith("bert.encoder.") and name.endswith(".weight") and "norm" not in name.lower())
    ]


def quantize_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 per row: ``matrix ≈ scale[:, None] * q``, q in -127..127; a row of zeros has scale 1."""
    peak = np.abs(matrix).max(axis=1)
    scale = np.where(peak > _NOTHING, peak / 127.0, 1.0).astype(np.float32)
    q = np.rint(matrix / scale[:, None]).clip(-127, 127).astype(np.int8)
    return q, scale


@dataclass(frozen=True, slots=True)
class Weights:
    """Checked tensors of one model.

    Attributes:
        config: the geometry; ``config.quantized`` says which form ``tensors`` is in.
        tensors: arrays by official name (plus ``*_scale`` and ``*_shift`` in the int8 form), perhaps mapped
            from the file.
        n_labels: rows of ``classifier.weight``.
    """

    config: ModelConfig
    tensors: Mapping[str, NDArray[Any]]
    n_labels: int

    def dense(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32, whatever it is stored in."""
        stored = self.tensors[name]
        if stored.dtype == np.int8:
            scaled: NDArray[np.float32] = stored.astype(np.float32) * self.tensors[name + _SCALE][:, None]
            if name + _SHIFT in self.tensors:
                scaled += self.tensors[name + _SHIFT][:, None] * self.constant_direction(name)[0]
            return scaled
        return stored.astype(np.float32)

    def constant_direction(self, name: str) -> tuple[NDArray[np.float32], float]:
        """V and c with v . x = c for every input x of the up projection ``name``."""
        norm = norm_before(name)
        return constant_direction(self.dense(f"{norm}.weight"), self.dense(f"{norm}.bias"))

    def without_constant(self, name: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The up projection ``name`` as W' and constants k with ``W x = W' x + k`` for all its inputs x."""
        v, c = self.constant_direction(name)
        rest, shift = split(self.dense(name), v)
        return rest, shift * np.float32(c)

    def to_dense(self) -> Weights:
        """The same weights, every tensor float32."""
        names = expected_shapes(self.config, self.n_labels)
        return Weights(
            replace(self.config, quantized=False), {n: self.dense(n) for n in names}, self.n_labels
        )

    def to_int8(self) -> Weights:
        """The same weights in the int8 form."""
        if self.config.quantized:
            return self
        tensors: dict[str, NDArray[Any]] = {n: self.dense(n) for n in self.tensors}
        for name in quantizable(self.tensors):
            if norm_before(name):
                tensors[name], tensors[name + _SHIFT] = split(tensors[name], self.constant_direction(name)[0])
            tensors[name], tensors[name + _SCALE] = quantize_rows(tensors[name])
        return Weights(replace(self.config, quantized=True), tensors, self.n_labels)

    def save(self, folder: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` (the tokenizer travels on its own)."""
        from safetensors.numpy import save_file  # reading does without the library

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        raw = self.config.to_dict()
        raw["num_labels"] = self.n_labels
        (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
        tensors = {name: np.ascontiguousarray(array) for name, array in self.tensors.items()}
        path = folder / "model.safetensors"
        save_file(tensors, path, metadata={"format": "pt"})
        path.chmod(0o644)  # the library leaves it readable to its owner alone


def from_tensors(config: ModelConfig, tensors: Mapping[str, NDArray[Any]], where: str) -> Weights:
    """Check names, shapes and values against the layout that ``config`` implies.

    Raises:
        ModelError: a tensor is missing, unknown or mis-shaped; the message names it.
    """
    tensors = {name: array for name, array in tensors.items() if not name.endswith(_IGNORED_SUFFIXES)}
    head = tensors.get("classifier.weight")
    if head is None:
        raise ModelError(f"{where}: no tensor classifier.weight: this is an encoder without a ranking head")
    if head.ndim != 2:
        raise ModelError(
            f"{where}: classifier.weight has shape {list(head.shape)}, expected [labels, hidden_size]"
        )
    shapes = expected_shapes(config, head.shape[0])
    if config.quantized:
        shifts = {n + _SHIFT: shapes[n][:1] for n in shapes if norm_before(n) and n + _SHIFT in tensors}
        shapes |= {name + _SCALE: shapes[name][:1] for name in quantizable(shapes)} | shifts
    _report(where, "missing", [name for name in shapes if name not in tensors])
    _report(where, "unknown", [name for name in tensors if name not in shapes])
    for name, shape in shapes.items():
        array = tensors[name]
        if array.shape != shape:
            raise ModelError(
                f"{where}: tensor {name} has shape {list(array.shape)}, but config.json implies {list(shape)}"
            )
        int8 = config.quantized and name + _SCALE in shapes
        if (array.dtype == np.int8) != int8 or (not int8 and array.dtype.kind != "f"):
            raise ModelError(
                f"{where}: tensor {name} has dtype {array.dtype}, expected {'int8' if int8 else 'floats'}"
            )
    return Weights(config, tensors, head.shape[0])


def _report(where: str, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise ModelError(
            f"{where}: {what} tensor {', '.join(names[:3])}{more}; does config.json belong to this file?"
        )


def load_weights(folder: str | Path) -> Weights:
    """Read the weights of a model folder: ``model.safetensors``, else ``pytorch_model.bin``.

    Raises:
        ModelError: the folder is not a usable model; says which file, field or tensor.
        MissingExtraError: only ``pytorch_model.bin`` is there and torch is not installed.
    """
    folder = Path(folder)
    config = ModelConfig.from_folder(folder)
    path = folder / "model.safetensors"
    if path.exists():
        return from_tensors(config, read_safetensors(path), str(path))
    path = folder / "pytorch_model.bin"
    if path.exists():
        return from_tensors(config, _read_torch(path), str(path))
    raise ModelError(
        f"{folder}: neither model.safetensors nor pytorch_model.bin is here; the weights are missing"
    )


def _read_torch(path: Path) -> dict[str, NDArray[Any]]:
    try:
        import torch
    except ImportError:
        raise MissingExtraError(f"{path.name} (a model.safetensors would not)", "torch") from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - torch raises many kinds for a bad file
        raise ModelError(f"{path}: cannot be read as weights only ({type(error).__name__})") from None
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise ModelError(f"{path}: does not hold a dictionary of tensors")
    return {str(name): tensor.float().numpy() for name, tensor in state.items()}
