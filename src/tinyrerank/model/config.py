"""``config.json`` of a JinaBERT ranking model: the official fields, read and checked."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tinyrerank.errors import ModelError

FeedForward = Literal["geglu", "reglu", "original"]
_FEED_FORWARDS = ("geglu", "reglu", "original")
_QUANTIZATION = {"quant_method": "tinyrerank-int8", "version": 1}


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Geometry of a JinaBERT cross-encoder (Günther et al. 2023, arXiv 2310.19923).

    Attributes:
        vocab_size: rows of the word embedding.
        hidden_size: width H, a multiple of ``n_heads``.
        n_layers: encoder layers.
        n_heads: attention heads.
        intermediate_size: width I of the feed-forward block.
        feed_forward: ``geglu`` or ``reglu`` (gated, fused 2I x H), or BERT's ``original``.
        max_length: the longest input, in tokens.
        type_vocab_size: rows of the token-type embedding; only row 0 is used by the tokenizer.
        layer_norm_eps: epsilon of every LayerNorm (1e-12; it is visible, do not raise it).
        hidden_dropout: dropout after embeddings, attention output and inside the feed-forward.
        classifier_dropout: dropout before the classifier.
        quantized: whether the weights file holds int8 matrices with scales.
        query_window: a longer query is read in even parts of at most this many tokens, and the mean of their
            logits counts; 0 reads every query whole. Our own field: official folders have none.
        document_window: tokens of a model input under the policy ``window``, when nobody sets a length; 0 for
            ``max_length``. Our own field, too.
    """

    vocab_size: int = 61056
    hidden_size: int = 384
    n_layers: int = 4
    n_heads: int = 12
    intermediate_size: int = 1536
    feed_forward: FeedForward = "geglu"
    max_length: int = 8192
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_dropout: float = 0.1
    classifier_dropout: float = 0.1
    quantized: bool = False
    query_window: int = 0
    document_window: int = 0

    @property
    def head_size(self) -> int:
        """Dimensions of one attention head."""
        return self.hidden_size // self.n_heads

    @classmethod
    def from_dict(cls, raw: dict[str, Any], where: str = "config.json") -> ModelConfig:
        """Read the fields of an official ``config.json``.

        Raises:
            ModelError: a field is missing, of the wrong kind, or describes another architecture.
        """

        def integer(key: str, default: int | None = None, least: int = 1) -> int:
            value = raw.get(key, default)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                kind = "a positive integer" if least else "an integer from 0"
                raise ModelError(f"{where}: {key} must be {kind}, not {value!r}")
            return value

        def dropout(key: str, default: float) -> float:
            value = raw.get(key)
            value = default if value is None else value
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise ModelError(f"{where}: {key} must lie in 0..1, not {value!r}")
            return float(value)

        position = raw.get("position_embedding_type")
        if position != "alibi":
            raise ModelError(
                f"{where}: position_embedding_type is {position!r}, not 'alibi': this is not a JinaBERT model"
                f" (model_type {raw.get('model_type')!r}); give the folder of a JinaBERT reranker"
            )
        feed_forward = raw.get("feed_forward_type", "original")
        if feed_forward not in _FEED_FORWARDS:
            raise ModelError(
                f"{where}: feed_forward_type is {feed_forward!r}; known: {', '.join(_FEED_FORWARDS)}"
            )
        hidden, heads = integer("hidden_size"), integer("num_attention_heads")
        if hidden % heads:
            raise ModelError(
                f"{where}: hidden_size {hidden} is not a multiple of num_attention_heads {heads}"
            )
        quantization = raw.get("quantization_config")
        if quantization not in (None, _QUANTIZATION):
            raise ModelError(f"{where}: unknown quantization_config {quantization!r}; known: {_QUANTIZATION}")
        eps = raw.get("layer_norm_eps", 1e-12)
        if not isinstance(eps, int | float) or not 0 < eps < 1:
            raise ModelError(f"{where}: layer_norm_eps must be a small positive number, not {eps!r}")
        hidden_dropout = dropout("hidden_dropout_prob", 0.1)
        return cls(
            vocab_size=integer("vocab_size"),
            hidden_size=hidden,
            n_layers=integer("num_hidden_layers"),
            n_heads=heads,
            intermediate_size=integer("intermediate_size"),
            feed_forward=feed_forward,
            max_length=integer("max_position_embeddings", 8192),
            type_vocab_size=integer("type_vocab_size", 2),
            layer_norm_eps=float(eps),
            hidden_dropout=hidden_dropout,
            classifier_dropout=dropout("classifier_dropout", hidden_dropout),
            quantized=quantization is not None,
            query_window=integer("query_window", 0, least=0),
            document_window=integer("document_window", 0, least=0),
        )

    @classmethod
    def from_folder(cls, folder: str | Path) -> ModelConfig:
        """Read ``folder/config.json``.

        Raises:
            ModelError: no such folder or file, not JSON, or not a JinaBERT config.
        """
        folder = Path(folder)
        path = folder / "config.json"
        if not folder.is_dir():
            raise ModelError(
                f"{folder}: no such folder; a model is a folder with config.json, tokenizer.json and weights"
            )
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ModelError(f"{folder}: no config.json here, so this is not a model folder") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ModelError(f"{path}: not valid JSON ({error})") from None
        if not isinstance(raw, dict):
            raise ModelError(f"{path}: must hold a JSON object")
        return cls.from_dict(raw, str(path))

    def to_dict(self) -> dict[str, Any]:
        """The official fields, as ``config.json`` spells them; ``from_dict`` reads them back."""
        raw: dict[str, Any] = {
            "architectures": ["JinaBertForSequenceClassification"],
            "model_type": "bert",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "intermediate_size": self.intermediate_size,
            "hidden_act": "gelu",
            "feed_forward_type": self.feed_forward,
            "position_embedding_type": "alibi",
            "max_position_embeddings": self.max_length,
            "type_vocab_size": self.type_vocab_size,
            "layer_norm_eps": self.layer_norm_eps,
            "hidden_dropout_prob": self.hidden_dropout,
            "attention_probs_dropout_prob": 0.0,
            "classifier_dropout": self.classifier_dropout,
            "pad_token_id": 1,
            "num_labels": 1,
        }
        if self.quantized:
            raw["quantization_config"] = dict(_QUANTIZATION)
        if self.query_window:
            raw["query_window"] = self.query_window
        if self.document_window:
            raw["document_window"] = self.document_window
        return raw

    def __repr__(self) -> str:
        return "ModelConfig(" + ", ".join(f"{k}={v!r}" for k, v in asdict(self).items()) + ")"
