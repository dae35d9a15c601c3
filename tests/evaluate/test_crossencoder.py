"""Cross-encoders of others, through transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinyrerank.errors import InputError, ModelError
from tinyrerank.evaluate.beir import BeirDocument
from tinyrerank.evaluate.compare.crossencoder import CrossEncoder

pytest.importorskip("torch", reason="the extra train is not installed")
pytest.importorskip("transformers", reason="the extra train is not installed")

from tiny_bert import write_bert

QUERY = "how do tides work"
DOCUMENTS: list[BeirDocument] = [
    {"title": "", "text": "yeast makes gas in the dough"},
    {"title": "Tides", "text": "the moon pulls the sea and the tide rises"},
    {"title": "", "text": "the sea " * 60},
    {"title": "", "text": ""},
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


def test_logits_come_in_input_order_whatever_the_batch(bert: Path) -> None:
    model = CrossEncoder(bert)
    together = model.score(QUERY, DOCUMENTS)
    alone = np.concatenate([model.score(QUERY, [document]) for document in DOCUMENTS])
    assert together.shape == (4,)
    assert len(np.unique(together.round(4))) == 4
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert model.score(QUERY, []).shape == (0,)


def test_only_the_document_is_cut_and_cut_ones_are_counted(bert: Path) -> None:
    model = CrossEncoder(bert, max_length=30)
    assert model.max_length == 30
    scores = model.score(QUERY, DOCUMENTS)
    assert model.cut(QUERY, DOCUMENTS) == 1
    longer: BeirDocument = {"title": "", "text": "the sea " * 90}
    assert scores[2] == pytest.approx(model.score(QUERY, [longer])[0], abs=1e-5)


def test_the_limit_is_that_of_the_model(bert: Path) -> None:
    assert CrossEncoder(bert).max_length == CrossEncoder(bert, max_length=9999).max_length == 48
    with pytest.raises(InputError, match="max_length is 0"):
        CrossEncoder(bert, max_length=0)


def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"lacks classifier\.bias.*would be random"):
        CrossEncoder(write_bert(tmp_path / "headless", head=False))


def test_a_classifier_of_three_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 labels; a reranker has exactly one"):
        CrossEncoder(write_bert(tmp_path / "classes", n_labels=3))


def test_a_folder_that_transformers_cannot_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    with pytest.raises(ModelError, match="transformers cannot load it"):
        CrossEncoder(tmp_path)
