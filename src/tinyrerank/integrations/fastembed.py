"""fastembed: its ``TextCrossEncoder`` interface over this engine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tinyrerank.errors import MissingFrameworkError
from tinyrerank.integrations.base import LazyReranker
from tinyrerank.reranker import Reranker
from tinyrerank.types import Policy

try:
    from fastembed.common.model_description import BaseModelDescription, ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder
    from fastembed.rerank.cross_encoder.text_cross_encoder_base import TextCrossEncoderBase
except ImportError as error:
    raise MissingFrameworkError("fastembed", "fastembed") from error

__all__ = ["MODEL_NAME", "TinyrerankTextCrossEncoder", "register"]

#: What fastembed calls the model in this package, once :func:`register` was called.
MODEL_NAME = "tinyrerank/tiny-en"


class TinyrerankTextCrossEncoder(TextCrossEncoderBase):
    """Scores query and documents: raw logits in the order given, as fastembed has it.

    Args:
        model_name: None or :data:`MODEL_NAME` for the model in the package, a folder, or a hub name.
        threads: threads of the engine.
        specific_model_path: a model folder; goes before ``model_name``.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer pairs.
        reranker: an open :class:`~tinyrerank.Reranker` to use; the settings above are then not looked at.
        **others: of fastembed's ONNX models (``cache_dir``, ``providers``, ``cuda`` …); without meaning here.
    """

    def __init__(
        self,
        model_name: str | None = None,
        *,
        threads: int | None = None,
        specific_model_path: str | None = None,
        engine: str = "auto",
        max_length: int | None = None,
        policy: Policy = "truncate",
        reranker: Reranker | None = None,
        **others: Any,  # noqa: ANN401 - fastembed's own
    ) -> None:
        super().__init__(model_name or MODEL_NAME, others.get("cache_dir"), threads)
        named = None if self.model_name.lower() == MODEL_NAME else self.model_name
        self._lazy = LazyReranker(
            specific_model_path or named,
            engine=engine,
            max_length=max_length,
            policy=policy,
            threads=threads,
            reranker=reranker,
        )

    @classmethod
    def _list_supported_models(cls) -> list[Any]:
        """The one model that fastembed's registry shows for this class."""
        return [
            BaseModelDescription(
                model=MODEL_NAME,
                sources=ModelSource(hf=MODEL_NAME),
                model_file="model.safetensors",
                description="JinaBERT, 4 layers, English, up to 8192 tokens; in the package tinyrerank",
                license="apache-2.0",
                size_in_GB=0.034,
            )
        ]

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        batch_size: int = 64,  # noqa: ARG002 - of the interface; the engine packs texts by their tokens
        **_: Any,  # noqa: ANN401 - of the interface
    ) -> Iterator[float]:
        """One logit a document, in the order given."""
        yield from self._lazy.score_pairs([(query, document) for document in documents], raw=True)

    def rerank_pairs(
        self,
        pairs: Iterable[tuple[str, str]],
        batch_size: int = 64,  # noqa: ARG002 - same
        parallel: int | None = None,  # noqa: ARG002 - the engine uses the threads that it was given
        **_: Any,  # noqa: ANN401 - of the interface
    ) -> Iterator[float]:
        """One logit a pair of (query, document), in the order given."""
        yield from self._lazy.score_pairs(list(pairs), raw=True)

    def token_count(self, pairs: Iterable[tuple[str, str]], **_: Any) -> int:  # noqa: ANN401 - of the interface
        """Tokens that the model reads of these pairs, queries and specials included.

        It scores them to know: what is cut depends on the policy.
        """
        reranker = self._lazy.get()
        return sum(reranker.rank(query, [document]).timings.tokens for query, document in pairs)


def register() -> None:
    """Let ``fastembed.rerank.cross_encoder.TextCrossEncoder(MODEL_NAME)`` find this class."""
    if TinyrerankTextCrossEncoder not in TextCrossEncoder.CROSS_ENCODER_REGISTRY:
        TextCrossEncoder.CROSS_ENCODER_REGISTRY.append(TinyrerankTextCrossEncoder)
