"""Rank the sections of the Markdown files in a folder, and show where each one stands.

    python examples/rank_folder.py "why is the sea salty?" examples/corpus

Without arguments it asks that question of the sample corpus.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tinyrerank import Reranker

CORPUS = Path(__file__).parent / "corpus"


def sections(folder: Path) -> list[dict[str, str]]:
    """Every section under a second-level heading, with its file."""
    found = []
    for path in sorted(folder.rglob("*.md")):
        for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, _, text = part.partition("\n")
            found.append({"title": title.strip(), "text": " ".join(text.split()), "file": path.name})
    return found


def main() -> None:
    """Print the best sections, best first."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("query", nargs="?", default="why is the sea salty?")
    parser.add_argument("folder", nargs="?", type=Path, default=CORPUS)
    parser.add_argument("--top-n", type=int, default=3)
    args = parser.parse_args()
    documents = sections(args.folder)
    with Reranker() as reranker:
        ranking = reranker.rank(args.query, documents, top_n=args.top_n)
    for place, hit in enumerate(ranking, 1):
        document = documents[hit.index]  # whatever you put into a document is still there
        print(f"{place}. {hit.score:.3f}  {document['title']}  ({document['file']})")


if __name__ == "__main__":
    main()
