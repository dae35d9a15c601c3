"""The pool: what is read, made up, held out and sampled, on a data folder of a few lines."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tinyrerank.errors import DataError
from tinyrerank.train.pool import MAX_PASSAGE_CHARS, Pool, Query, build_pool, read_rows
from tinyrerank.train.recipe import DataRecipe, SynthRecipe
from tinyrerank.train.synth import synthesize

TOPICS = "tides bread engines poems bees glass rivers clocks salt maps ink sails".split()  # noqa: SIM905 - one line
RECIPE = DataRecipe(
    labelled=["asked", "also-asked"],
    corpora=["corpus"],
    candidate_lists=["listed"],
    queries=["bare"],
    held_out=6,
    title_in_text=0.5,
    synth=SynthRecipe(titles=10, keywords=10, sentences=10, halves=10),
)


def passage(topic: str, n: int) -> str:
    return (
        f"The first thing to know about {topic} is number {n}. People worked with {topic} for many years. "
        f"Nobody knows how old {topic} really are today. A museum of {topic} stands in the town. "
        f"Its visitors often ask about {topic} and number {n}."
    )


def write(path: Path, rows: Sequence[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    asked: list[dict[str, Any]] = []
    also: list[dict[str, Any]] = []
    for n in range(40):
        topic = TOPICS[n % len(TOPICS)]
        row = {
            "query": f"what is {topic} {n}?",
            "positive": passage(topic, n),
            "negatives": [passage(topic, n + 1)],
        }
        asked.append(row)
        # Two answers to one question, and a second question to the same passage.
        asked.append({"query": f"what is {topic} {n}?", "positive": passage(topic, n + 12)})
        asked.append({"query": f"tell me of {topic} {n}", "positive": passage(topic, n)})
        # Another set has the same passage, in other spacing and case.
        also.append(
            {"query": f"{topic} number {n}", "positive": "  " + passage(topic, n).upper().replace(" ", "\t ")}
        )
    asked.append({"query": "unanswerable?", "positive": passage("bees", 4), "answerable": False})
    write(folder / "train/asked.jsonl.gz", asked)
    write(folder / "train/also-asked.jsonl.gz", also)
    corpus = [{"title": f"All about {t}", "text": passage(t, 100 + n)} for n, t in enumerate(TOPICS)]
    corpus += [{"title": "", "text": passage(t, 200)} for t in TOPICS] + [{"text": passage("bees", 300)}]
    write(folder / "train/corpus.jsonl.gz", corpus)
    listed = {"query": "which maps?", "candidates": [{"text": passage("maps", 400 + n)} for n in range(25)]}
    write(folder / "train/listed.jsonl.gz", [listed])
    bare = [{"query": "how old is salt", "source": "log"}, {"query": "WHICH MAPS?", "source": "log"}]
    write(folder / "train/bare.jsonl.gz", bare)
    write(
        folder / "eval/dev-set/corpus.jsonl.gz",
        [{"_id": f"d{n}", "title": "Dev", "text": passage("sails", 500 + n)} for n in range(3)],
    )
    questions = [
        {"_id": "q1", "text": "sails?"},
        {"_id": "q2", "text": "no grades"},
        {"_id": "q3", "text": "test only"},
    ]
    write(folder / "eval/dev-set/queries.jsonl", questions)
    grades = ["query-id\tcorpus-id\tscore", "q1\td1\t2", "q1\td2\t1", "q1\tgone\t1", "q2\td0\t0"]
    write(folder / "eval/dev-set/qrels/dev.tsv", grades)
    write(folder / "eval/dev-set/qrels/test.tsv", ["query-id\tcorpus-id\tscore", "q3\td0\t1"])
    return folder


def by_text(pool: Pool) -> dict[str, Query]:
    found = {q.text: q for q in pool.queries}
    assert len(found) == len(pool.queries)
    return found


def test_passages_are_unique_whatever_their_spacing_and_case(data: Path) -> None:
    pool = build_pool(replace(RECIPE, synth=SynthRecipe(), held_out=0), data, 1)
    assert len({" ".join(p.split()).casefold() for p in pool.passages}) == len(pool.passages)
    queries = by_text(pool)
    for n in range(40):
        topic = TOPICS[n % 12]
        (shared,) = queries[f"{topic} number {n}"].positives
        assert pool.passages[shared] == passage(topic, n)
        assert shared in queries[f"what is {topic} {n}?"].positives


def test_rows_of_one_question_become_one_query(data: Path) -> None:
    pool = build_pool(replace(RECIPE, synth=SynthRecipe(), held_out=0), data, 1)
    queries = by_text(pool)
    query = queries["what is tides 0?"]
    assert {pool.passages[p] for p in query.positives} == {passage("tides", 0), passage("tides", 12)}
    assert [pool.passages[p] for p in query.negatives] == [passage("tides", 1)]
    assert query.source == "asked"
    about = queries["unanswerable?"]
    assert about.positives == {}
    assert [pool.passages[p] for p in about.negatives] == [passage("bees", 4)]


def test_questions_are_unique_whatever_their_case(data: Path) -> None:
    pool = build_pool(RECIPE, data, 1)
    assert len({q.text.casefold() for q in pool.queries}) == len(pool.queries)
    listed = by_text(pool)["which maps?"]
    assert listed.source == "listed"
    assert len(listed.negatives) == 20
    assert by_text(pool)["how old is salt"] == Query("how old is salt", "log")


@pytest.mark.parametrize("max_queries", [0, 40])
@pytest.mark.parametrize("seed", range(5))
def test_no_held_out_answer_is_a_positive_of_a_training_query(
    data: Path, seed: int, max_queries: int
) -> None:
    pool = build_pool(replace(RECIPE, max_queries=max_queries), data, seed)
    held_out = [q for q in pool.queries if q.held_out]
    answers = {p for q in held_out for p in q.positives}
    training = [q for q in pool.queries if not q.held_out]
    assert {q.source for q in held_out} == {"asked", "also-asked"}
    assert len(answers) >= 4
    assert any(q.positives for q in training)
    for query in training:
        assert answers.isdisjoint(query.positives), query


def test_titles_stand_in_front_of_about_the_wanted_share(data: Path) -> None:
    for share, expected in ((0.0, 0), (1.0, 12)):
        pool = build_pool(replace(RECIPE, title_in_text=share), data, 1)
        assert sum(p.startswith("All about ") for p in pool.passages) == expected
    half = build_pool(RECIPE, data, 1)
    assert 1 < sum(p.startswith("All about ") for p in half.passages) < 11


def test_long_passages_are_cut_to_the_limit(tmp_path: Path) -> None:
    write(tmp_path / "train/corpus.jsonl.gz", [{"text": "long " * 2000}])
    pool = build_pool(DataRecipe(corpora=["corpus"]), tmp_path, 1)
    assert [len(p) for p in pool.passages] == [MAX_PASSAGE_CHARS]


def test_synthetic_queries_of_every_kind_come_from_the_passage_they_point_at() -> None:
    texts = [passage(topic, n) for n, topic in enumerate(TOPICS)]
    titled = [
        *((f"## All about {t}:", n) for n, t in enumerate(TOPICS)),
        ("", 0),
        ("####", 1),
        ("x" * 200, 2),
    ]
    texts[2] += " and so on" * 30
    recipe = SynthRecipe(titles=50, keywords=50, sentences=50, halves=50, passages=50, parts=50)
    found: dict[str, list[tuple[str, int]]] = {}
    for kind, query, number in synthesize(texts, titled, recipe, random.Random(3)):
        found.setdefault(kind, []).append((query, number))
    assert set(found) == {"title", "question", "keywords", "sentence", "half", "passage", "part"}
    assert len(found["title"]) + len(found["question"]) == len(TOPICS)  # no empty or endless heading
    assert ("All about bees", 4) in found["title"] or any("all about bees" in q for q, _ in found["question"])
    for query, number in found["keywords"]:
        words = query.split()
        assert 2 <= len(words) <= 6
        assert set(words) <= set(texts[number].lower().replace(".", "").split())
        assert TOPICS[number] not in words  # in one passage only: too telling
    for query, number in found["sentence"]:
        assert query in texts[number]
        assert query != texts[number]
    for query, number in found["half"]:
        assert texts[number].startswith(query) or texts[number].endswith(query)
    assert (texts[2], 2) in found["passage"]
    for query, number in found["passage"]:  # short ones ask for nothing
        assert query == texts[number]
        assert len(query.split()) >= 45
    for query, number in found["part"]:
        assert query in texts[number]
        assert 32 <= len(query.split()) <= 64


def test_synthesis_stops_at_the_recipes_counts() -> None:
    texts = [passage(topic, n) for n, topic in enumerate(TOPICS)]
    titled = [(f"All about {t}", n) for n, t in enumerate(TOPICS)]
    made = list(synthesize(texts, titled, SynthRecipe(titles=3, sentences=2), random.Random(0)))
    kinds = [kind for kind, _, _ in made]
    assert len(made) == 5
    assert kinds.count("sentence") == 2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "Salt matters. The aim of this study was to determine the effect of salt on bread. We baked.",
            "the effect of salt on bread",
        ),
        ("Bees dance. We investigated whether bees count their dances; they do.", "whether bees"),
        ("We present tides. We studied them.", None),  # nothing to ask for
        ("In this paper we study our own method for maps and the ink of them.", None),  # whose?
    ],
)
def test_aims_of_abstracts_become_questions(text: str, wanted: str | None) -> None:
    made = list(synthesize([text], [], SynthRecipe(aims=5), random.Random(1)))
    assert [(kind, number) for kind, _, number in made] == ([("aim", 0)] if wanted else [])
    if wanted:
        assert wanted in made[0][1]


def test_dev_sets_bring_their_graded_development_queries_and_untrainable_passages(data: Path) -> None:
    pool = build_pool(replace(RECIPE, dev=["dev-set"]), data, 1)
    dev = [q for q in pool.queries if q.source == "dev dev-set"]
    assert [q.text for q in dev] == ["sails?"]  # graded above 0, and never a test query
    assert dev[0].held_out
    assert {pool.passages[p]: gain for p, gain in dev[0].positives.items()} == {
        "Dev " + passage("sails", 501): 2,
        "Dev " + passage("sails", 502): 1,
    }
    assert len(pool.passages) - pool.n_trainable == 3
    assert min(dev[0].positives) >= pool.n_trainable


@pytest.mark.parametrize(("seed", "negatives"), [(0, 4), (1, 4), (2, 1)])
def test_sampling_keeps_references_right_and_every_group_in(data: Path, seed: int, negatives: int) -> None:
    whole = build_pool(RECIPE, data, seed)
    sampled = replace(RECIPE, max_queries=45, max_passages=60, negatives=negatives, dev=["dev-set"])
    small = build_pool(sampled, data, seed)
    before = {q.text: q for q in whole.queries}
    training = [q for q in small.queries if not q.held_out]
    assert len(training) <= 45
    groups = {"synthetic" if q.source.startswith("synthetic") else q.source for q in training}
    assert {"synthetic", "log"} <= groups
    assert groups & {"asked", "also-asked"}
    assert small.n_trainable < len(whole.passages)
    for query in small.queries:
        if query.source.startswith("dev "):
            continue
        old = before[query.text]
        assert (query.source, query.held_out) == (old.source, old.held_out)
        assert {small.passages[p]: g for p, g in query.positives.items()} == {
            whole.passages[p]: g for p, g in old.positives.items()
        }
        assert len(query.negatives) == min(negatives, len(old.negatives))
        assert {small.passages[p] for p in query.negatives} <= {whole.passages[p] for p in old.negatives}


def test_a_seed_gives_one_pool_and_the_disk_gives_it_back(data: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, dev=["dev-set"], max_queries=30)
    pool = build_pool(recipe, data, 7)
    assert build_pool(recipe, data, 7) == pool
    assert build_pool(recipe, data, 8) != pool
    pool.save(tmp_path / "pool")
    assert Pool.load(tmp_path / "pool") == pool


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", r"broken\.jsonl\.gz:2: not JSON"),
        ("[1, 2]", r"broken\.jsonl\.gz:2: a JSON object is needed"),
        ('{"query": "q"}', r"broken\.jsonl\.gz:2: field 'positive' must be text, but is missing"),
        ('{"query": 7, "positive": "p"}', r"broken\.jsonl\.gz:2: field 'query' must be text, but is 7"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_number(tmp_path: Path, line: str, says: str) -> None:
    write(tmp_path / "train/broken.jsonl.gz", [{"query": "q", "positive": "p"}, line])
    with pytest.raises(DataError, match=says):
        build_pool(DataRecipe(labelled=["broken"]), tmp_path, 1)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl\.gz: no such file; pass --data"):
        build_pool(DataRecipe(corpora=["nowhere"]), tmp_path, 1)
    for name, content, says in (
        ("cut.jsonl.gz", gzip.compress(b'{"a": 1}\n')[:-9], "damaged gzip data"),
        ("odd.jsonl", b'{"a": "\xff"}\n', "not UTF-8"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}:\d: {says}"):
            list(read_rows(tmp_path / name))


def test_malformed_grades_of_a_dev_set_are_named_by_line(tmp_path: Path) -> None:
    write(tmp_path / "eval/d/corpus.jsonl.gz", [{"_id": "a", "text": "t"}])
    with pytest.raises(DataError, match=r"dev\.tsv: no such file"):
        build_pool(DataRecipe(dev=["d"]), tmp_path, 1)
    write(tmp_path / "eval/d/qrels/dev.tsv", ["head", "q\ta\t1", "q\ta\tgood"])
    with pytest.raises(DataError, match=r"dev\.tsv:3: expected query, passage and grade"):
        build_pool(DataRecipe(dev=["d"]), tmp_path, 1)
