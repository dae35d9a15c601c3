"""LlamaIndex: a node postprocessor."""

from __future__ import annotations

from typing import Any

from tinyrerank.errors import InputError, MissingFrameworkError
from tinyrerank.integrations.base import RECEIPT_KEY, LazyReranker, receipt_of, settings_of
from tinyrerank.reranker import Reranker
from tinyrerank.types import Hit, Policy

try:
    from llama_index.core.bridge.pydantic import Field, PrivateAttr
    from llama_index.core.callbacks import CBEventType, EventPayload
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise MissingFrameworkError("LlamaIndex", "llama-index") from error

__all__ = ["TinyrerankPostprocessor"]


class TinyrerankPostprocessor(BaseNodePostprocessor):
    """Orders nodes by how well they answer the query.

    A node keeps its id, text and metadata. Its score becomes the sigmoid of the logit, and its metadata gets
    ``tinyrerank``: logit, place before, tokens read of how many, and the retriever's score. Neither the
    embedding nor the language model is shown that entry. The nodes given are not changed.

    Args:
        top_n: nodes to return; None for all.
        model: None for the model in the package, a folder, or a hub name.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer nodes: ``truncate``, ``window`` or ``refuse``.
        threads: threads of the engine.
        metadata_mode: what of a node is read: ``embed`` is its text with the metadata meant for embedding,
            ``none`` the text alone.
        reranker: an open :class:`~tinyrerank.Reranker` to use; model, engine, max_length and policy are then
            its own.
        list_weight: of the place among the nodes given, for a retriever's order; 0.3 suits BM25, 1
            retrievers that rank as well as the model or better, 0 leaves it out.
        likeness: of the likeness to the best nodes (0.1 is a good start), 0 leaves it out.
    """

    top_n: int | None = Field(default=None, ge=1, description="Nodes to return; all if absent.")
    model: str | None = Field(default=None, description="Model folder or hub name; ours if absent.")
    engine: str = Field(default="auto", description="Name of the engine.")
    max_length: int | None = Field(default=None, description="Tokens of a model input.")
    policy: Policy = Field(default="truncate", description="What happens to longer nodes.")
    threads: int | None = Field(default=None, description="Threads of the engine.")
    metadata_mode: MetadataMode = Field(default=MetadataMode.EMBED, description="What of a node is read.")
    list_weight: float = Field(default=0.0, description="Weight of the place among the nodes given.")
    likeness: float = Field(default=0.0, description="Weight of the likeness to the best nodes.")

    _lazy: LazyReranker = PrivateAttr()

    def __init__(self, *, reranker: Reranker | None = None, **fields: Any) -> None:  # noqa: ANN401 - pydantic checks them
        super().__init__(**fields | settings_of(reranker))
        self._lazy = LazyReranker(
            self.model,
            engine=self.engine,
            max_length=self.max_length,
            policy=self.policy,
            threads=self.threads,
            reranker=reranker,
            list_weight=self.list_weight,
            likeness=self.likeness,
        )

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex stores it."""
        return "TinyrerankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        """The best ``top_n`` nodes, best first; the asynchronous form runs this in a thread."""
        if query_bundle is None:
            raise InputError("the postprocessor got no query; give query_bundle or query_str")
        if not nodes:
            return []
        payload = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self.model or "tinyrerank",
            EventPayload.QUERY_STR: query_bundle.query_str,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            texts = [node.node.get_content(metadata_mode=self.metadata_mode) for node in nodes]
            ranking = self._lazy.rank(query_bundle.query_str, texts, self.top_n)
            ranked = [_scored(nodes[hit.index], hit) for hit in ranking]
            event.on_end(payload={EventPayload.NODES: ranked})
        return ranked


def _scored(found: NodeWithScore, hit: Hit) -> NodeWithScore:
    """A copy of a node with our score and receipt."""
    node: BaseNode = found.node
    receipt = {**receipt_of(hit), "retrieval_score": found.score}
    hidden = {
        name: [*(key for key in getattr(node, name) if key != RECEIPT_KEY), RECEIPT_KEY]
        for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys")
    }
    copy = node.model_copy(update={"metadata": {**node.metadata, RECEIPT_KEY: receipt}, **hidden})
    return NodeWithScore(node=copy, score=hit.score)
