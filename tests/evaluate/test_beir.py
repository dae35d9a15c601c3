from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from beir_files import DOCUMENTS, QRELS, QUERIES, RUN, write_set
from hypothesis import given
from hypothesis import strategies as st

from tinyrerank.errors import DataError, InputError
from tinyrerank.evaluate.beir import read_corpus, read_run, read_topics, write_run


@pytest.mark.parametrize("packed", [False, True])
def test_a_set_is_read_whole_gzipped_or_not(tmp_path: Path, packed: bool) -> None:
    folder = write_set(tmp_path, packed=packed)
    topics = read_topics(folder)
    assert topics.queries == QUERIES
    assert topics.qrels == QRELS
    documents, total = read_corpus(folder)
    assert total == 5
    assert {key: (one["title"], one["text"]) for key, one in documents.items()} == DOCUMENTS
    assert read_run(next((folder / "runs").iterdir())) == RUN


def test_only_wanted_documents_are_kept_but_all_are_counted(tmp_path: Path) -> None:
    documents, total = read_corpus(write_set(tmp_path), {"d4", "nowhere"})
    assert list(documents) == ["d4"]
    assert total == 5


def test_queries_without_a_relevant_document_are_left_out_and_counted(tmp_path: Path) -> None:
    topics = read_topics(write_set(tmp_path, qrels={**QRELS, "q2": {"d2": 0}}))
    assert list(topics.queries) == ["q1", "q3"]
    assert topics.without_relevant == 1


def test_a_qrels_file_needs_no_header(tmp_path: Path) -> None:
    folder = write_set(tmp_path)
    (folder / "qrels" / "dev.tsv").write_text("q1\td1\t1\nq2\td2\t1\n")
    assert read_topics(folder, "dev").qrels == {"q1": {"d1": 1}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    ("name", "content", "where", "says"),
    [
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "b"\n', ":2:", "not JSON"),
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n\n["b"]\n', ":3:", "object"),
        ("corpus.jsonl", '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', ":2:", "twice"),
        ("corpus.jsonl", '{"_id": "a", "text": null}\n', ":1:", '"text" must be a string'),
        ("corpus.jsonl", '{"text": "x"}\n', ":1:", '"_id"'),
        ("corpus.jsonl", '{"_id": "my file", "text": "x"}\n', ":1:", "without spaces"),
        ("corpus.jsonl", '{"_id": "a", "title": 3, "text": "x"}\n', ":1:", '"title"'),
    ],
)
def test_a_malformed_corpus_line_is_named(
    tmp_path: Path, name: str, content: str, where: str, says: str
) -> None:
    folder = write_set(tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        read_corpus(folder)
    assert f"{name}{where}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "where", "says"),
    [
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\n", ":2:", "2 tab-separated"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\thigh\n", ":2:", "'high'"),
        ("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq9\td1\t1\n", ":2:", "q9"),
        ("qrels/test.tsv", "q1\td1\t0\n", "", "no query has a relevant document"),
        ("queries.jsonl", '{"_id": "q1", "text": 1}\n', ":1:", '"text"'),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "a"}\n', ":2:", "twice"),
    ],
)
def test_a_malformed_query_or_judgement_is_named(
    tmp_path: Path, name: str, content: str, where: str, says: str
) -> None:
    folder = write_set(tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        read_topics(folder)
    assert f"{Path(name).name}{where}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "where", "says"),
    [
        ("q1 Q0 d1 1 2.0 x\nq1 Q0 d2 2 1.0\n", ":2:", "5 fields"),
        ("q1 Q0 d1 first 2.0 x\n", ":1:", "'first'"),
        ("q1 Q0 d1 1 nan x\n", ":1:", "not finite"),
        ("q1 Q0 d1 1 2.0 x\nq1 Q0 d1 2 1.0 x\n", ":2:", "listed twice"),
        ("\n", "", "empty"),
    ],
)
def test_a_malformed_run_line_is_named(tmp_path: Path, content: str, where: str, says: str) -> None:
    path = tmp_path / "a.trec"
    path.write_text(content)
    with pytest.raises(DataError, match=says) as caught:
        read_run(path)
    assert f"a.trec{where}" in str(caught.value)


def test_a_run_is_ordered_by_score_then_rank_then_line(tmp_path: Path) -> None:
    path = tmp_path / "a.trec"
    path.write_text("q Q0 low 1 1.0 x\nq Q0 tie2 3 2.0 x\nq Q0 tie1 2 2.0 x\nq Q0 tie3 3 2.0 x\n")
    assert read_run(path) == {"q": ["tie1", "tie2", "tie3", "low"]}


def test_damaged_gzip_and_wrong_encoding_are_bad_data(tmp_path: Path) -> None:
    folder = write_set(tmp_path, packed=True)
    whole = (folder / "corpus.jsonl.gz").read_bytes()
    (folder / "corpus.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="damaged gzip"):
        read_corpus(folder)
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress('{"_id": "a", "text": "é"}\n'.encode("latin-1")))
    with pytest.raises(DataError, match="not UTF-8"):
        read_corpus(folder)


def test_a_folder_of_sets_is_recognised(tmp_path: Path) -> None:
    write_set(tmp_path / "one")
    with pytest.raises(InputError, match="subfolders have one"):
        read_topics(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        read_topics(tmp_path / "nowhere")
    with pytest.raises(InputError, match="splits here: test"):
        read_topics(tmp_path / "one", "dev")


ids = st.text("abcdefghij-_0123456789", min_size=1, max_size=6)


@given(st.dictionaries(ids, st.lists(ids, min_size=1, max_size=12, unique=True), min_size=1, max_size=5))
def test_a_written_run_reads_back_in_the_same_order(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, list[str]]
) -> None:
    path = tmp_path_factory.mktemp("run") / "a.trec.gz"
    write_run(path, run, "tag")
    assert read_run(path) == run
