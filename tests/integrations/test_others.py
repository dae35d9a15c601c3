"""fastembed, rerankers, redisvl, DSPy and MCP, each in its own ways."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tinyrerank import Reranker
from tinyrerank.errors import InputError

pytestmark = pytest.mark.filterwarnings("default")

TEXTS = ["yeast makes gas", "the moon pulls the sea", "the tide rises"]


def test_fastembed_finds_our_model_once_registered(tiny_folder: Path) -> None:
    pytest.importorskip("fastembed", reason="fastembed is not installed")
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    from tinyrerank.integrations.fastembed import MODEL_NAME, register

    register()
    register()
    names = [model["model"] for model in TextCrossEncoder.list_supported_models()]
    assert names.count(MODEL_NAME) == 1
    encoder = TextCrossEncoder(MODEL_NAME, specific_model_path=str(tiny_folder), threads=1)
    with Reranker(str(tiny_folder)) as reranker:
        logits = reranker.score("tides", TEXTS).tolist()
    assert list(encoder.rerank("tides", TEXTS)) == logits
    assert list(encoder.rerank_pairs([("tides", text) for text in TEXTS])) == logits
    assert encoder.token_count([("tides", "the")]) > 4


def test_rerankers_results_carry_ids_and_metadata(tiny_folder: Path) -> None:
    pytest.importorskip("rerankers", reason="rerankers is not installed")
    from tinyrerank.integrations.rerankers import TinyrerankRanker

    ranker = TinyrerankRanker(str(tiny_folder))
    found = ranker.rank("tides", TEXTS, doc_ids=["a", "b", "c"], metadata=[{"n": i} for i in range(3)])
    assert {(result.doc_id, result.document.metadata["n"]) for result in found} == {
        ("a", 0),
        ("b", 1),
        ("c", 2),
    }
    assert [result.rank for result in found] == [1, 2, 3]
    assert ranker.score("tides", TEXTS[0]) == pytest.approx(found.get_score_by_docid("a"))
    assert ranker.rank("tides", TEXTS[0]).results_count() == 1
    with pytest.raises(InputError, match="doc_ids has 1 entries for 3 documents"):
        ranker.rank("tides", TEXTS, doc_ids=["a"])


def test_redisvl_reads_the_fields_it_is_told_to(tiny_folder: Path) -> None:
    pytest.importorskip("redisvl", reason="redisvl is not installed")
    from tinyrerank.integrations.redisvl import TinyrerankReranker

    rows = [{"title": "Tides", "body": text} for text in TEXTS]
    reranker = TinyrerankReranker(str(tiny_folder), rank_by=["title", "body"], limit=2)
    result: Any = reranker.rank("tides", rows)
    found, scores = result
    with Reranker(str(tiny_folder)) as own:
        expected = own.rank("tides", [f"Tides\n{text}" for text in TEXTS], 2)
    assert [row["body"] for row in found] == [TEXTS[hit.index] for hit in expected]
    assert scores == pytest.approx([hit.score for hit in expected])
    plain: Any = reranker.rank("tides", TEXTS, return_score=False, rank_by=["content"])
    assert {row["content"] for row in plain} < set(TEXTS)
    with pytest.raises(InputError, match="limit is 0"):
        reranker.rank("tides", TEXTS, limit=0)
    with pytest.raises(InputError, match="document 0 is of type int"):
        reranker.rank("tides", [3])  # type: ignore[arg-type]  # that is the point


def test_a_dspy_program_with_our_module_can_be_copied(tiny_folder: Path) -> None:
    pytest.importorskip("dspy", reason="DSPy is not installed")
    from tinyrerank.integrations.dspy import TinyrerankModule

    module = TinyrerankModule(top_n=2, model=str(tiny_folder))
    found = module(query="tides", passages=TEXTS)
    assert module.deepcopy()(query="tides", passages=TEXTS).passages == found.passages
    assert len(module(query="tides", passages=TEXTS, top_n=1).passages) == 1
    assert module.predictors() == []
    with pytest.raises(InputError, match="passage 0 is of type dict and has no text"):
        module(query="tides", passages=[{"body": "x"}])


def test_the_mcp_command_serves_one_tool_to_a_real_client(tiny_folder: Path) -> None:
    pytest.importorskip("mcp.server.mcpserver", reason="MCP 2 is not installed")
    from mcp import Client, StdioServerParameters

    arguments = ["-m", "tinyrerank", "mcp", "--model", str(tiny_folder), "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    server = StdioServerParameters(command=sys.executable, args=arguments, env=environment)

    async def session() -> tuple[list[str], Any, Any]:
        async with Client(server) as client:
            tools = await client.list_tools()
            asked = {"query": "tides", "documents": TEXTS, "top_n": 2, "return_text": True}
            good = await client.call_tool("rerank", asked)
            bad = await client.call_tool("rerank", {"query": "tides " * 600, "documents": TEXTS})
            return [tool.name for tool in tools.tools], good, bad

    names, good, bad = asyncio.run(session())
    assert names == ["rerank"]
    with Reranker(str(tiny_folder)) as reranker:
        expected = reranker.rank("tides", TEXTS, 2)
    assert [row["text"] for row in good.structured_content["results"]] == [hit.text for hit in expected]
    assert bad.is_error
    assert "shorten the query" in bad.content[0].text
