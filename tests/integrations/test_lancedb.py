"""The LanceDB reranker inside LanceDB: vector, full-text and hybrid search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lancedb", reason="LanceDB is not installed")

import lancedb
from lancedb.index import FTS

from tinyrerank import Reranker
from tinyrerank.errors import InputError
from tinyrerank.fusion import reciprocal_rank_fusion
from tinyrerank.integrations.lancedb import TinyrerankReranker

pytestmark = pytest.mark.filterwarnings("default")

QUERY = "the tide"
TEXTS = ["yeast makes gas", "the moon pulls the sea", "the tide rises", "a tide and a query"]


@pytest.fixture
def table(tmp_path: Path) -> Any:
    rows = [{"text": text, "key": i, "vector": [float(i), 1.0]} for i, text in enumerate(TEXTS)]
    table = lancedb.connect(tmp_path).create_table("texts", rows)
    table.create_fts_index("text") if not hasattr(table, "create_index") else table.create_index(
        "text", config=FTS()
    )
    return table


def expected(folder: Path, keys: list[int]) -> list[int]:
    with Reranker(str(folder)) as reranker:
        return [keys[hit.index] for hit in reranker.rank(QUERY, [TEXTS[key] for key in keys])]


def test_vector_search_keeps_every_row_in_our_order(table: Any, tiny_folder: Path) -> None:
    search = table.search([0.0, 1.0]).limit(4)
    found = search.rerank(TinyrerankReranker(str(tiny_folder)), query_string=QUERY).to_arrow()
    assert found["key"].to_pylist() == expected(tiny_folder, [0, 1, 2, 3])
    assert str(found["_relevance_score"].type) == "float"
    assert "_distance" not in found.column_names


def test_full_text_search_is_reranked(table: Any, tiny_folder: Path) -> None:
    found = (
        table.search(QUERY, query_type="fts").limit(4).rerank(TinyrerankReranker(str(tiny_folder))).to_arrow()
    )
    keys = sorted(found["key"].to_pylist())
    assert set(keys) >= {2, 3}
    assert found["key"].to_pylist() == expected(tiny_folder, keys)


def test_hybrid_search_joins_both_and_can_keep_every_score(table: Any, tiny_folder: Path) -> None:
    reranker = TinyrerankReranker(str(tiny_folder), return_score="all")
    search = table.search(query_type="hybrid").vector([0.0, 1.0]).text(QUERY).limit(4)
    rows = search.rerank(reranker).to_arrow().to_pylist()
    assert [row["key"] for row in rows] == expected(tiny_folder, sorted(row["key"] for row in rows))
    assert len({row["key"] for row in rows}) == len(rows) == 4
    by_key = {row["key"]: row for row in rows}
    assert by_key[0]["_score"] is None
    assert by_key[2]["_score"] is not None
    assert by_key[2]["_distance"] == pytest.approx(4.0)
    assert by_key[2]["_tokens_read"] == by_key[2]["_tokens_total"] > 0


def test_the_order_of_a_hybrid_search_is_that_of_reciprocal_ranks(table: Any, tiny_folder: Path) -> None:
    reranker = TinyrerankReranker(str(tiny_folder), list_weight=1e4)
    near = table.search([0.0, 1.0]).limit(4).to_arrow()["key"].to_pylist()
    words = table.search(QUERY, query_type="fts").limit(4).to_arrow()["key"].to_pylist()
    search = table.search(query_type="hybrid").vector([0.0, 1.0]).text(QUERY).limit(4)
    assert search.rerank(reranker).to_arrow()["key"].to_pylist() == reciprocal_rank_fusion([near, words])


def test_hybrid_search_that_finds_no_word_still_answers(table: Any, tiny_folder: Path) -> None:
    search = table.search(query_type="hybrid").vector([0.0, 1.0]).text("xylophone").limit(4)
    rows = search.rerank(TinyrerankReranker(str(tiny_folder))).to_arrow()
    assert sorted(rows["key"].to_pylist()) == [0, 1, 2, 3]


def test_an_absent_column_is_named(table: Any, tiny_folder: Path) -> None:
    reranker = TinyrerankReranker(str(tiny_folder), column="body")
    with pytest.raises(InputError, match="no column 'body'"):
        table.search(QUERY, query_type="fts").rerank(reranker).to_arrow()
