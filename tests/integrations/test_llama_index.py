"""The LlamaIndex postprocessor inside LlamaIndex."""

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.evaluation import RetrieverEvaluator
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle, TextNode

from tinyrerank import Reranker
from tinyrerank.errors import InputError
from tinyrerank.integrations.llama_index import TinyrerankPostprocessor

pytestmark = pytest.mark.filterwarnings("default")

TEXTS = ["yeast makes gas", "the moon pulls the sea", "the tide rises", "a reranker reads a query"]


class Everything(BaseRetriever):  # type: ignore[misc]  # untyped where the framework is absent
    """A retriever that finds all nodes, in the order of the list."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        assert query_bundle.query_str
        return [
            NodeWithScore(node=TextNode(text=text, id_=str(i)), score=1 / (i + 1))
            for i, text in enumerate(TEXTS)
        ]


def test_the_language_model_and_the_embedder_never_see_the_receipt(tiny_folder: Path) -> None:
    nodes = [NodeWithScore(node=TextNode(text=TEXTS[1], metadata={"author": "Ann"}), score=0.25)]
    processor = TinyrerankPostprocessor(model=str(tiny_folder))
    once = processor.postprocess_nodes(nodes, query_str="tides")
    [twice] = processor.postprocess_nodes(once, query_str="tides")
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert twice.node.get_content(metadata_mode=mode) == nodes[0].node.get_content(metadata_mode=mode)
    assert twice.node.metadata["tinyrerank"]["retrieval_score"] == once[0].score
    assert twice.score == once[0].score
    assert twice.node.excluded_llm_metadata_keys.count("tinyrerank") == 1


def test_metadata_meant_for_embedding_is_read_and_other_metadata_is_not(tiny_folder: Path) -> None:
    processor = TinyrerankPostprocessor(model=str(tiny_folder))
    node = TextNode(text="rises", metadata={"title": "the tide"})
    hidden = TextNode(text="rises", metadata={"title": "the tide"}, excluded_embed_metadata_keys=["title"])

    def tokens(one: TextNode) -> int:
        [found] = processor.postprocess_nodes([NodeWithScore(node=one)], query_str="tides")
        return int(found.node.metadata["tinyrerank"]["tokens_total"])

    assert tokens(node) > tokens(hidden)


def test_settings_survive_to_dict_and_pickle(tiny_folder: Path) -> None:
    processor = TinyrerankPostprocessor(model=str(tiny_folder), top_n=2, policy="window")
    nodes = Everything().retrieve("tides")
    expected = [node.node_id for node in processor.postprocess_nodes(nodes, query_str="tides")]
    stored: Any = TinyrerankPostprocessor.from_dict(processor.to_dict())
    for again in (stored, pickle.loads(pickle.dumps(processor))):  # noqa: S301 - our own bytes
        assert again.policy == "window"
        assert [node.node_id for node in again.postprocess_nodes(nodes, query_str="tides")] == expected


def test_a_given_reranker_is_stored_by_its_settings(tiny_folder: Path) -> None:
    with Reranker(str(tiny_folder), max_length=60, policy="window") as reranker:
        stored = TinyrerankPostprocessor(reranker=reranker).to_dict()
    assert (stored["model"], stored["max_length"], stored["policy"]) == (str(tiny_folder), 60, "window")


def test_llama_index_own_evaluator_takes_it(tiny_folder: Path) -> None:
    processor = TinyrerankPostprocessor(model=str(tiny_folder), top_n=2)
    evaluator = RetrieverEvaluator.from_metric_names(
        ["hit_rate", "mrr"], retriever=Everything(), node_postprocessors=[processor]
    )
    result = asyncio.run(evaluator.aevaluate("tides", ["1"]))
    best = processor.postprocess_nodes(Everything().retrieve("tides"), query_str="tides")
    assert result.retrieved_ids == [node.node_id for node in best]
    assert result.metric_vals_dict["hit_rate"] == float("1" in result.retrieved_ids)


def test_without_a_query_it_says_what_to_give(tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="query_bundle or query_str"):
        TinyrerankPostprocessor(model=str(tiny_folder)).postprocess_nodes(Everything().retrieve("tides"))
