from __future__ import annotations

from pathlib import Path

import pytest
from beir_files import DOCUMENTS, QRELS, QUERIES, RUN, write_set

from tinyrerank.errors import InputError
from tinyrerank.evaluate.first_stage import load_task, sample_task


def test_the_given_list_is_taken_as_it_is(tmp_path: Path) -> None:
    task = load_task(write_set(tmp_path / "toy"))
    assert task.name == "toy"
    assert task.run == RUN
    assert task.source == "given: runs/bm25.trec"
    assert set(task.documents) == set(DOCUMENTS)
    assert task.n_pairs == 8
    assert task.notes == ()


def test_depth_cuts_every_list(tmp_path: Path) -> None:
    task = load_task(write_set(tmp_path), depth=2)
    assert task.run == {query: listed[:2] for query, listed in RUN.items()}
    with pytest.raises(InputError, match="depth is 0"):
        load_task(tmp_path, depth=0)


def test_listed_documents_outside_the_corpus_are_left_out_and_counted(tmp_path: Path) -> None:
    task = load_task(write_set(tmp_path, run={**RUN, "q1": ["gone", "d1", "gone2"]}), depth=1)
    assert task.run["q1"] == ["d1"]
    assert task.notes == ("listed documents that the corpus lacks, left out: 2",)


def test_a_query_without_candidates_stays_in_the_judgements(tmp_path: Path) -> None:
    task = load_task(write_set(tmp_path, run={"q1": ["d1"], "unjudged": ["d2"]}))
    assert list(task.run) == ["q1"]
    assert set(task.qrels) == set(QUERIES)
    assert task.notes == ("queries without candidates, counted as zero: 2",)


def test_a_sample_keeps_the_same_queries_each_time_and_says_so(tmp_path: Path) -> None:
    task = load_task(write_set(tmp_path))
    sampled = sample_task(task, 2)
    assert sampled.queries.keys() == sampled.qrels.keys() == sample_task(task, 2).queries.keys()
    assert len(sampled.queries) == 2
    assert sampled.run.keys() <= sampled.queries.keys() < set(QUERIES)
    assert set(sampled.documents) == {key for listed in sampled.run.values() for key in listed}
    assert "a sample of 2 of 3 queries (seed 0)" in sampled.notes
    assert sample_task(task, 3) is sample_task(task, None) is task
    with pytest.raises(InputError, match="give 1 or more"):
        sample_task(task, 0)


def test_another_run_is_taken_by_name(tmp_path: Path) -> None:
    folder = write_set(tmp_path)
    (folder / "runs" / "dense.trec").write_text("q1 Q0 d4 1 1.0 dense\n")
    assert load_task(folder, first_stage="run:dense").run == {"q1": ["d4"]}
    with pytest.raises(InputError, match="has no run sparse in runs/; there: bm25, dense"):
        load_task(folder, first_stage="run:sparse")
    with pytest.raises(InputError, match="choose given, bm25 or run:NAME"):
        load_task(folder, first_stage="dense")


def test_a_split_that_the_list_does_not_cover_is_said(tmp_path: Path) -> None:
    folder = write_set(tmp_path, run={"q1": ["d1"]})
    (folder / "qrels" / "dev.tsv").write_text("q2\td2\t1\n")
    with pytest.raises(InputError, match="lists nothing for the dev queries"):
        load_task(folder, split="dev")


def test_a_missing_list_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--first-stage bm25"):
        load_task(write_set(tmp_path, run=None))


def test_bm25_finds_documents_that_share_a_stem_with_the_query(tmp_path: Path) -> None:
    task = load_task(write_set(tmp_path, run=None), first_stage="bm25")
    assert task.run["q2"][0] == "d2"  # "rise" finds "rises"
    assert "d4" not in task.run["q2"]  # shares no word
    assert task.source.startswith("BM25 by bm25s")


@pytest.mark.parametrize("first_stage", ["bm25", "given"])
def test_the_query_itself_is_no_candidate_but_a_document_of_the_same_number_is(
    tmp_path: Path, first_stage: str
) -> None:
    documents = {
        "1": ("On tides", "the moon pulls the sea"),  # is query 1: title and text
        "2": ("", "the sea follows the moon"),  # shares a number with query 2, not its text
        "3": ("", "the moon and the sea"),
    }
    folder = write_set(
        tmp_path,
        documents=documents,
        queries={"1": "On tides the moon pulls the sea", "2": "moon and sea"},
        qrels={"1": {"3": 1}, "2": {"2": 1}},
        run={"1": ["1", "2", "3"], "2": ["2", "3"]},
    )
    task = load_task(folder, first_stage=first_stage)
    assert set(task.run["1"]) == {"2", "3"}
    assert "2" in task.run["2"]


def test_trec_deep_learning_sets_are_relevant_from_grade_two(tmp_path: Path) -> None:
    assert load_task(write_set(tmp_path / "trec-dl19")).relevant_from == 2
    assert load_task(write_set(tmp_path / "toy")).relevant_from == 1
    assert load_task(tmp_path / "toy", relevant_from=3).relevant_from == 3


def test_the_candidate_hash_changes_with_query_list_and_text(tmp_path: Path) -> None:
    seen = {load_task(write_set(tmp_path / "a")).candidate_hash()}
    variants = [
        write_set(tmp_path / "b", queries={**QUERIES, "q1": "how do the tides work"}),
        write_set(tmp_path / "c", run={**RUN, "q1": ["d1", "d2", "d3"]}),
        write_set(tmp_path / "d", documents={**DOCUMENTS, "d1": ("Tide", DOCUMENTS["d1"][1])}),
    ]
    for folder in variants:
        seen.add(load_task(folder).candidate_hash())
    assert len(seen) == 4
    assert load_task(write_set(tmp_path / "e", qrels={**QRELS, "q1": {"d1": 1}})).candidate_hash() in seen
