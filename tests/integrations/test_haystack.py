"""The Haystack component inside a pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("haystack", reason="Haystack is not installed")

from haystack import Document, Pipeline

from tinyrerank.errors import InputError
from tinyrerank.integrations.haystack import TinyrerankRanker

pytestmark = pytest.mark.filterwarnings("default")

DOCUMENTS = [
    Document(content=text) for text in ("yeast makes gas", "the moon pulls the sea", "the tide rises")
]


def test_a_pipeline_comes_back_from_yaml_with_every_setting(tiny_folder: Path) -> None:
    pipeline = Pipeline()
    ranker = TinyrerankRanker(str(tiny_folder), top_k=2, policy="window", meta_fields_to_embed=["title"])
    pipeline.add_component("ranker", ranker)
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["tinyrerank.integrations.haystack"])
    assert again.get_component("ranker").to_dict() == ranker.to_dict()
    data = {"ranker": {"query": "tides", "documents": DOCUMENTS}}
    assert again.run(data)["ranker"]["documents"] == pipeline.run(data)["ranker"]["documents"]
    assert len(pipeline.run(data)["ranker"]["documents"]) == 2


def test_warm_up_opens_the_model_and_names_what_is_wrong_with_it(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=str(tmp_path)):
        TinyrerankRanker(str(tmp_path)).warm_up()


def test_run_settings_stand_in_for_those_of_the_component(tiny_folder: Path) -> None:
    ranker = TinyrerankRanker(str(tiny_folder), top_k=1)
    assert len(ranker.run("tides", DOCUMENTS, top_k=3)["documents"]) == 3
    scores = [document.score for document in ranker.run("tides", DOCUMENTS, top_k=3)["documents"]]
    above = ranker.run("tides", DOCUMENTS, top_k=3, score_threshold=scores[1])["documents"]
    assert [document.score for document in above] == scores[:2]
    with pytest.raises(InputError, match="top_k is 0"):
        ranker.run("tides", DOCUMENTS, top_k=0)


def test_meta_tells_how_much_was_read(tiny_folder: Path) -> None:
    long = Document(content="the tide rises " * 2000)
    meta = TinyrerankRanker(str(tiny_folder)).run("tides", [*DOCUMENTS, long])["meta"]
    assert (meta["ranked"], meta["truncated"]) == (4, 1)
    assert meta["tokens"] > 500
