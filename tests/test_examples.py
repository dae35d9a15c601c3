"""The sample corpus, its questions, and what the embedded model makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinyrerank import Reranker
from tinyrerank.cli.inputs import Passage, Reading, json_lines, read_passages
from tinyrerank.errors import ModelError
from tinyrerank.model.hub import default_folder

EXAMPLES = Path(__file__).parents[1] / "examples"


def no_model() -> bool:
    try:
        default_folder()
    except ModelError:
        return True
    return False


@pytest.fixture(scope="module")
def passages() -> list[Passage]:
    return read_passages([str(EXAMPLES / "corpus")], Reading())


def test_the_corpus_is_200_passages_under_headings_of_their_own(passages: list[Passage]) -> None:
    assert len(passages) == len({p.title for p in passages}) == 200
    assert all(60 <= len(p.text.split()) <= 120 for p in passages)


def test_every_question_names_a_passage(passages: list[Passage]) -> None:
    headings = [record["heading"] for _, record in json_lines(str(EXAMPLES / "questions.jsonl"))]
    assert len(headings) == len(set(headings)) == 40
    assert set(headings) <= {p.title for p in passages}


@pytest.mark.skipif(no_model(), reason="no weights embedded in this checkout")
def test_the_embedded_model_answers_questions_better_than_counting_words(passages: list[Passage]) -> None:
    """Each question against the 20 passages of its theme; BM25 puts the right one first for 30 of 40."""
    right = 0
    with Reranker() as reranker:
        for _, record in json_lines(str(EXAMPLES / "questions.jsonl")):
            theme = next(p.path for p in passages if p.title == record["heading"])
            candidates = [p for p in passages if p.path == theme]
            best = reranker.rank(record["query"], [p.document for p in candidates], top_n=1)[0]
            right += candidates[best.index].title == record["heading"]
    assert right > 30
