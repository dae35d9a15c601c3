"""The retrieval half of a RAG pipeline: BM25 finds candidates, the reranker orders them, a prompt comes out.

    pip install '.[eval]'        # brings bm25s
    python examples/rag_bm25s.py "how do spring tides differ from neap tides?"

Hand the prompt to the language model of your choice.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bm25s

from tinyrerank import Reranker

CORPUS = Path(__file__).parent / "corpus"
CANDIDATES, KEPT = 20, 3


def passages() -> list[str]:
    """The sample corpus, heading and text of each section."""
    parts = [p.read_text(encoding="utf-8").split("\n## ")[1:] for p in sorted(CORPUS.glob("*.md"))]
    return [" ".join(part.split()) for file in parts for part in file]


def main() -> None:
    """Print the prompt for a question."""
    question = " ".join(sys.argv[1:]) or "how do spring tides differ from neap tides?"
    texts = passages()
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    words = bm25s.tokenize([question], stopwords="en", show_progress=False)
    found, _ = index.retrieve(words, k=CANDIDATES, show_progress=False)
    candidates = [texts[i] for i in found[0]]

    with Reranker() as reranker:
        ranking = reranker.rank(question, candidates, top_n=KEPT)

    print("Answer the question from these sources only, and name the source.\n")
    for number, hit in enumerate(ranking, 1):
        print(f"[{number}] {hit.text}\n")  # BM25 had it at place hit.index + 1
    print(f"Question: {question}")


if __name__ == "__main__":
    main()
