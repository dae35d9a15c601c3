"""Question and passage sets, and the three first stages that find candidates in them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import InputError
from tinyrerank.evaluate.beir import BeirDocument, Run, read_corpus, read_topics, whole_text
from tinyrerank.evaluate.first_stage import Task, bm25_run
from tinyrerank.fusion import reciprocal_rank_fusion
from tinyrerank.progress import Progress

if TYPE_CHECKING:
    from tinyrerank.evaluate.biencoder import BiEncoder

#: The first stages, in the order of every table.
STAGES = ("bm25", "dense", "hybrid")
#: Passages that are retrieved and given to the reranker; each is measured on its own.
DEPTHS = (10, 20)
_FUSED = 100  # passages of each list that go into the hybrid one


@dataclass(frozen=True, slots=True)
class RagSet:
    """Questions with the passages that answer them, and what each first stage finds.

    Attributes:
        name: the folder's name.
        documents: passages by id, all of them.
        questions: text by id.
        expected: ids of the passages that answer each question; at least one.
        found: for each first stage, the best ``max(DEPTHS)`` passage ids of each question, best first.
        cosines: of each question and the candidates that any stage found.
    """

    name: str
    documents: dict[str, BeirDocument]
    questions: dict[str, str]
    expected: dict[str, list[str]]
    found: dict[str, Run]
    cosines: dict[str, dict[str, float]]

    def task(self) -> Task:
        """The candidates of all stages together, as something that a system can score."""
        run = {
            question: list(dict.fromkeys(key for stage in STAGES for key in self.found[stage][question]))
            for question in self.questions
        }
        listed = {key: self.documents[key] for keys in run.values() for key in keys}
        qrels = {question: dict.fromkeys(keys, 1) for question, keys in self.expected.items()}
        return Task(
            name=self.name,
            split="test",
            queries=self.questions,
            qrels=qrels,
            documents=listed,
            n_documents=len(self.documents),
            run=run,
            source=f"{', '.join(STAGES)}, the best {max(DEPTHS)} of each",
            relevant_from=1,
            notes=(),
        )


def load_set(
    folder: Path, encoder: BiEncoder, cache: Path, *, n_questions: int | None = None, quiet: bool = True
) -> RagSet:
    """Read a BEIR folder, embed its passages, and search it.

    A passage answers a question if it is judged relevant at all (in TREC's web sets: from grade 2).

    Args:
        folder: corpus, queries and qrels/test.tsv.
        encoder: the dense first stage.
        cache: folder where vectors are kept between runs.
        n_questions: at most so many questions, the first of the judgements; None for all.
        quiet: write no progress.

    Raises:
        InputError: no such set, or nothing in it to ask for.
        MissingExtraError: ``bm25s`` is not installed.
    """
    if n_questions is not None and n_questions < 1:
        raise InputError(f"{n_questions} questions a set; give 1 or more")
    name = folder.resolve().name
    documents, _ = read_corpus(folder)
    topics = read_topics(folder)
    least = 2 if name.startswith("trec-dl") else 1
    expected = {
        question: answers
        for question, judged in topics.qrels.items()
        if (answers := [key for key, grade in judged.items() if grade >= least and key in documents])
    }
    expected = dict(list(expected.items())[:n_questions])
    if not expected:
        raise InputError(f"{folder}: no question has an answer in the corpus")
    questions = {question: topics.queries[question] for question in expected}
    words = bm25_run(documents, questions, _FUSED)
    texts = list(map(whole_text, documents.values()))
    read = sum(min(len(text), 5 * encoder.max_length) for text in texts)  # as the encoder counts
    progress = Progress(read, "characters", name=f"{name}: embedding", quiet=quiet)
    passages = _embedded(texts, encoder, cache, progress)
    cosines = _embedded(list(questions.values()), encoder, cache, None) @ passages.T
    ids = list(documents)
    places = {key: i for i, key in enumerate(ids)}
    found: dict[str, Run] = {stage: {} for stage in STAGES}
    kept: dict[str, dict[str, float]] = {}
    for question, row in zip(questions, cosines, strict=True):
        near = [ids[i] for i in np.argsort(-row, kind="stable")[:_FUSED]]
        lists = {"bm25": words.get(question, []), "dense": near}
        lists["hybrid"] = reciprocal_rank_fusion([lists["bm25"], near])
        for stage in STAGES:
            found[stage][question] = lists[stage][: max(DEPTHS)]
        listed = {key for stage in STAGES for key in found[stage][question]}
        kept[question] = {key: float(row[places[key]]) for key in listed}
    return RagSet(name, documents, questions, expected, found, kept)


def _embedded(
    texts: list[str], encoder: BiEncoder, cache: Path, progress: Progress | None
) -> NDArray[np.float32]:
    """Unit vectors of the texts, (n, width), read back if this encoder has embedded them before."""
    key = hashlib.sha256(json.dumps([encoder.identity, texts], sort_keys=True).encode()).hexdigest()[:16]
    path = cache / f"vectors.{key}.npy"
    try:
        kept: NDArray[np.float32] = np.load(path)
    except (OSError, ValueError, EOFError):
        kept = encoder.embed(texts, progress.advance) if progress else encoder.embed(texts)
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npy")
        np.save(part, kept)
        part.replace(path)
    return kept
