"""Make a test set in BEIR form from questions and documents of your own.

    python examples/make_set.py my-set
    tinyrerank evaluate my-set --first-stage bm25

Here they come from the sample corpus and its 40 questions. Thirty real questions with one known answer each
already tell a good ranking from a bad one.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

HERE = Path(__file__).parent


def write_jsonl(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """One JSON object a line."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Write corpus.jsonl, queries.jsonl and qrels/test.tsv into the folder that is named."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "my-set")
    (out / "qrels").mkdir(parents=True, exist_ok=True)

    documents: list[dict[str, str]] = []
    for path in sorted((HERE / "corpus").glob("*.md")):
        for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, _, text = part.partition("\n")
            row = {"_id": f"d{len(documents)}", "title": title.strip(), "text": " ".join(text.split())}
            documents.append(row)
    write_jsonl(out / "corpus.jsonl", documents)

    lines = (HERE / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines]
    write_jsonl(out / "queries.jsonl", ({"_id": q["id"], "text": q["query"]} for q in questions))

    by_title = {document["title"]: document["_id"] for document in documents}
    judged = ["query-id\tcorpus-id\tscore\n"]
    judged += [f"{q['id']}\t{by_title[q['heading']]}\t1\n" for q in questions]
    (out / "qrels" / "test.tsv").write_text("".join(judged), encoding="utf-8")
    print(f"{out}: {len(documents)} documents, {len(questions)} questions")


if __name__ == "__main__":
    main()
