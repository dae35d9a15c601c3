"""The RAG benchmark: first stages, LlamaIndex's evaluator against a count by hand, intervals, the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinyrerank.cli import main
from tinyrerank.errors import InputError
from tinyrerank.evaluate.rag.report import markdown, terminal_table
from tinyrerank.evaluate.rag.run import COSINE, NONE, RagResults, run_benchmark
from tinyrerank.evaluate.rag.sets import DEPTHS, STAGES, RagSet, load_set
from tinyrerank.fusion import reciprocal_rank_fusion

pytestmark = pytest.mark.filterwarnings("default")  # LlamaIndex warns of its own affairs

WORDS = ["tide", "moon", "bread", "yeast", "query", "score", "sea", "sun", "oven", "model"]


class WordEncoder:
    """A stand-in for a bi-encoder: which of ten words a text has."""

    identity: dict[str, Any] = {"kind": "words"}  # noqa: RUF012 - as the original has it
    max_length = 256

    def embed(self, texts: list[str], on_read: Callable[[int], None] | None = None) -> np.ndarray:
        if on_read:
            on_read(sum(map(len, texts)))

        rows = np.array([[word in text for word in WORDS] for text in texts], dtype=np.float32) + 0.01
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BEIR set of 30 passages and 6 questions."""
    folder = tmp_path_factory.mktemp("sets") / "toy"
    (folder / "qrels").mkdir(parents=True)
    rng = np.random.default_rng(7)
    texts = [" ".join(rng.choice(WORDS, size=4)) for _ in range(30)]
    rows = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": f"q{i}", "text": " ".join(rng.choice(WORDS, size=2))} for i in range(5)]
    asked.append({"_id": "q5", "text": "the"})  # BM25 finds nothing for it
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    lines = [f"q{i}\td{int(j)}\t1\n" for i in range(6) for j in rng.choice(30, size=3, replace=False)]
    (folder / "qrels" / "test.tsv").write_text("".join(lines))
    return folder


@pytest.fixture
def toy(folder: Path, tmp_path: Path) -> RagSet:
    pytest.importorskip("bm25s", reason="bm25s is not installed")
    encoder: Any = WordEncoder()
    return load_set(folder, encoder, tmp_path / "cache")


def by_hand(ids: list[str], answers: list[str]) -> tuple[float, float]:
    """Hit rate and reciprocal rank in the first five."""
    ranks = [rank for rank, key in enumerate(ids[:5], start=1) if key in answers]
    return float(bool(ranks)), 1.0 / ranks[0] if ranks else 0.0


def test_the_dense_stage_is_by_cosine_and_the_hybrid_one_fuses_both(toy: RagSet) -> None:
    encoder = WordEncoder()
    ids = list(toy.documents)
    vectors = encoder.embed([toy.documents[key]["text"] for key in ids])
    for question, text in toy.questions.items():
        cosines = vectors @ encoder.embed([text])[0]
        listed = [float(cosines[ids.index(key)]) for key in toy.found["dense"][question]]
        assert listed == pytest.approx(sorted(cosines.tolist(), reverse=True)[: max(DEPTHS)], abs=1e-6)
        for key in toy.found["bm25"][question]:
            assert toy.cosines[question][key] == pytest.approx(cosines[ids.index(key)], abs=1e-6)
        assert set(toy.found["hybrid"][question]) <= set(ids)
    assert toy.found["bm25"]["q5"] == []
    assert reciprocal_rank_fusion([["a", "b", "c"], ["c", "a"]]) == ["a", "c", "b"]


def test_vectors_are_kept_and_a_damaged_file_is_made_again(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="bm25s is not installed")
    encoder: Any = WordEncoder()
    first = load_set(folder, encoder, tmp_path)
    kept = sorted(tmp_path.glob("vectors.*.npy"))
    assert len(kept) == 2
    kept[0].write_bytes(b"not an array")
    assert load_set(folder, encoder, tmp_path).found == first.found
    with pytest.raises(InputError, match="0 questions"):
        load_set(folder, encoder, tmp_path, n_questions=0)


def test_llama_index_counts_as_we_do_by_hand(toy: RagSet, tmp_path: Path) -> None:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    results = run_benchmark([toy], [], tmp_path, quiet=True)
    assert results.columns == [NONE, COSINE]
    for stage in STAGES:
        for depth in DEPTHS:
            for i, question in enumerate(toy.questions):
                listed = toy.found[stage][question][:depth]
                ordered = sorted(listed, key=lambda key: -toy.cosines[question][key])
                for column, ids in ((NONE, listed), (COSINE, ordered)):
                    hit, rank = by_hand(ids, toy.expected[question])
                    assert results.values["toy", stage, depth, column, "hit_rate"][i] == hit
                    assert results.values["toy", stage, depth, column, "mrr"][i] == rank


def test_a_model_column_is_what_our_postprocessor_does_in_llama_index(
    toy: RagSet, tiny_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    from tinyrerank.evaluate.compare.contenders import Contender
    from tinyrerank.evaluate.rag import llama
    from tinyrerank.integrations.llama_index import TinyrerankPostprocessor

    weights: dict[str, Any] = {"list_weight": 0.7, "likeness": 0.2}
    ours = Contender.parse(f"ours={tiny_folder}")
    results = run_benchmark([toy], [ours], tmp_path, **weights, quiet=True)
    assert results.columns == [NONE, COSINE, "ours", "ours+list+likeness"]
    for column, chosen in (("ours", {}), ("ours+list+likeness", weights)):
        processor = TinyrerankPostprocessor(model=str(tiny_folder), top_n=5, **chosen)
        for stage in STAGES:
            lists = {toy.questions[question]: keys for question, keys in toy.found[stage].items()}
            retriever = llama.ListRetriever(lists, toy.documents, 10)
            direct = llama.evaluate_list(retriever, toy.questions, toy.expected, processor)
            assert direct["mrr"] == results.values["toy", stage, 10, column, "mrr"]
            assert direct["hit_rate"] == results.values["toy", stage, 10, column, "hit_rate"]
    alone, together = (results.values["toy", "bm25", 10, one, "mrr"] for one in results.columns[2:])
    assert alone != together


def made_up(values: list[float], other: list[float]) -> RagResults:
    """The bi-encoder keeps the first stage's order."""
    table = {
        ("toy", stage, depth, column, metric): row
        for stage in STAGES
        for depth in DEPTHS
        for column, row in ((NONE, values), (COSINE, values), ("ours", other))
        for metric in ("hit_rate", "mrr")
    }
    return RagResults(["toy"], [NONE, COSINE, "ours"], table, {})


def test_intervals_hold_the_mean_and_a_sure_gain_is_above_zero() -> None:
    rng = np.random.default_rng(3)
    base = rng.uniform(size=200)
    results = made_up(base.tolist(), (base + 0.1).tolist())
    value = results.average(NONE, "mrr")
    spread = 1.96 * base.std() / np.sqrt(200)
    assert value.mean == pytest.approx(base.mean())
    assert (value.low, value.high) == pytest.approx((base.mean() - spread, base.mean() + spread), abs=0.006)
    gain = results.average("ours", "mrr", against=NONE)
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))


def test_the_report_marks_published_figures_as_another_data_set() -> None:
    results = made_up([0.0, 1.0], [1.0, 1.0])
    text = markdown(results)
    assert text.index("Another data set") < text.index("| jina-reranker-v1-tiny-en | 0.8316 | 0.6761 |")
    ours = next(line for line in text.splitlines() if line.startswith("| ours |"))
    assert ours.startswith("| ours | 1.0000 [1.000, 1.000] | +0.500")
    assert ours.count("+0.500") == 4  # over no reranker and over the bi-encoder, hit rate and MRR
    assert "no reranker" in terminal_table(results)


def test_the_command_writes_a_report_and_goes_on_from_kept_scores(
    folder: Path,
    tiny_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("llama_index.core", reason="LlamaIndex is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    monkeypatch.setattr("tinyrerank.evaluate.biencoder.BiEncoder", lambda _folder: WordEncoder())
    out = tmp_path / "rag"
    command = [
        "evaluate",
        "rag",
        str(folder),
        "--systems",
        f"ours={tiny_folder}",
        "--encoder",
        ".",
        "--quiet",
    ]
    command += ["--out", str(out), "--queries", "4", "--json"]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["columns"] == [NONE, COSINE, "ours"]
    assert {"hit_rate", "mrr"} == first["averages"]["ours"].keys()
    assert first["gains_over_no_reranker"].keys() == {COSINE, "ours"}
    mrr = {column: values["mrr"]["mean"] for column, values in first["averages"].items()}
    assert first["gains_over_bi_encoder"].keys() == {"ours"}
    gain = first["gains_over_bi_encoder"]["ours"]["mrr"]["mean"]
    assert gain == pytest.approx(mrr["ours"] - mrr[COSINE])
    [kept] = (out / "toy").glob("scores.ours.*.jsonl")
    before = kept.read_bytes()
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["averages"] == first["averages"]
    assert kept.read_bytes() == before
    assert "jina-reranker-v1-tiny-en" in (out / "rag.md").read_text(encoding="utf-8")
    assert main([*command[:3], "--systems", "list", "--out", str(out), "--encoder", ".", "--quiet"]) == 2


def test_one_word_after_evaluate_is_a_folder_unless_it_is_rag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["evaluate", "rag", "--help"])
    assert "RetrieverEvaluator" in capsys.readouterr().out
    assert main(["evaluate", "./rag"]) != 0
