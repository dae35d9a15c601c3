"""Rerank a JSONL file of queries with their candidates, one result line each.

    python examples/batch_jsonl.py < queries.jsonl > results.jsonl

A line holds ``id``, ``query`` and ``documents`` (strings). For files in production use the command
``tinyrerank rank --queries FILE --out FILE``, which also goes on after a kill; this shows the library.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from tinyrerank import Reranker

SAMPLE: list[dict[str, Any]] = [
    {
        "id": "q1",
        "query": "what makes dough rise?",
        "documents": ["The Moon raises the tides.", "Yeast turns sugar into gas and lifts the dough."],
    },
    {
        "id": "q2",
        "query": "what pulls the sea?",
        "documents": ["The Moon raises the tides.", "Salt keeps bread from going stale."],
    },
]


def main() -> None:
    """Read lines, or a sample when a person is at the keyboard; write one JSON object a query."""
    jobs = SAMPLE if sys.stdin.isatty() else [json.loads(line) for line in sys.stdin if line.strip()]
    with Reranker() as reranker:  # loaded once; all queries share it
        for job in jobs:
            ranking = reranker.rank(job["query"], job["documents"])
            order = [{"index": hit.index, "score": round(hit.score, 6)} for hit in ranking]
            cut = sum(hit.receipt.truncated for hit in ranking)  # never cut without saying so
            print(json.dumps({"id": job["id"], "results": order, "documents_cut": cut}))


if __name__ == "__main__":
    main()
