"""The parts of the benchmark that are LlamaIndex's: nodes, a retriever, a postprocessor, its evaluator."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from tinyrerank.errors import MissingFrameworkError
from tinyrerank.evaluate.beir import BeirDocument, whole_text

try:
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.evaluation import RetrieverEvaluator
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise MissingFrameworkError("LlamaIndex", "rag") from error

#: LlamaIndex's names of what is measured: whether an answer is among the passages, and one over its rank.
METRICS = ("hit_rate", "mrr")


class ListRetriever(BaseRetriever):  # type: ignore[misc]  # untyped where LlamaIndex is absent
    """Retrieves what a first stage has found before.

    Args:
        lists: passage ids of each question, best first, by the question's text.
        documents: passages by id.
        depth: passages to retrieve.
    """

    def __init__(
        self, lists: Mapping[str, Sequence[str]], documents: Mapping[str, BeirDocument], depth: int
    ) -> None:
        super().__init__()
        self._lists = lists
        self._documents = documents
        self._depth = depth

    def finds(self, text: str) -> bool:
        """Whether there is anything for this question."""
        return bool(self._lists[text])

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [
            NodeWithScore(node=_node(key, self._documents[key]), score=1.0 / rank)
            for rank, key in enumerate(self._lists[query_bundle.query_str][: self._depth], start=1)
        ]


class ScoredPostprocessor(BaseNodePostprocessor):  # type: ignore[misc]  # same
    """Orders nodes by logits that were computed before, and keeps the best.

    It stands for a reranker in a run with many first stages and depths, which would else score the same
    pairs again and again; a test holds it to ``TinyrerankPostprocessor``.

    Args:
        logits: by the question's text, then by passage id.
        top_n: nodes to keep.
    """

    _logits: Mapping[str, Mapping[str, float]] = PrivateAttr()
    _top_n: int = PrivateAttr()

    def __init__(self, logits: Mapping[str, Mapping[str, float]], top_n: int) -> None:
        super().__init__()
        self._logits = logits
        self._top_n = top_n

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            return nodes[: self._top_n]
        logits = self._logits[query_bundle.query_str]
        return sorted(nodes, key=lambda node: -logits[node.node.node_id])[: self._top_n]


def evaluate_list(
    retriever: ListRetriever,
    questions: Mapping[str, str],
    expected: Mapping[str, list[str]],
    processor: BaseNodePostprocessor | None,
) -> dict[str, list[float]]:
    """Hit rate and reciprocal rank of every question by LlamaIndex's ``RetrieverEvaluator``.

    Args:
        retriever: the first stage.
        questions: text by id.
        expected: ids of the passages that answer each question.
        processor: a node postprocessor; None for the list as it is.

    Returns:
        Values by metric, in the order of the questions. A question for which nothing is retrieved gets zero:
        the evaluator would refuse it.
    """
    evaluator = RetrieverEvaluator.from_metric_names(
        list(METRICS), retriever=retriever, node_postprocessors=[processor] if processor else None
    )

    async def values() -> dict[str, list[float]]:
        rows: dict[str, list[float]] = {metric: [] for metric in METRICS}
        for question, text in questions.items():
            if retriever.finds(text):
                result = (await evaluator.aevaluate(text, expected[question])).metric_vals_dict
            else:
                result = dict.fromkeys(METRICS, 0.0)
            for metric in METRICS:
                rows[metric].append(float(result[metric]))
        return rows

    return asyncio.run(values())


def _node(key: str, document: BeirDocument) -> TextNode:
    return TextNode(id_=key, text=whole_text(document))
