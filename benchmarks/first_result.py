"""How long a user waits: 100 passages of the sample corpus, from a cold process and from a warm one.

    python benchmarks/first_result.py [--model FOLDER] [--runs 7]

Cold: from the start of the process to the printed ranking, a new process every time. Warm: one
``Reranker.rank`` call, tokenization included. Prints median and best, and the peak memory of a process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).resolve().parents[1] / "examples" / "corpus"
QUERY = "why are there two high tides a day?"
N_PASSAGES = 100

_CHILD = """
import json, sys, time
from tinyrerank import Reranker
model, query = json.loads(sys.argv[1]), sys.argv[2]
passages = json.loads(sys.stdin.read())
reranker = Reranker(model)
first = reranker.rank(query, passages, top_n=1)[0].index
times = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    reranker.rank(query, passages)
    times.append(1e3 * (time.perf_counter() - start))
status = open("/proc/self/status").read()
peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"first": first, "warm_ms": times, "peak_mib": peak, "engine": reranker.engine.name}))
"""


def passages() -> list[str]:
    """The first 100 passages of the sample corpus, headings left out."""
    found: list[str] = []
    for path in sorted(CORPUS.glob("*.md")):
        for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
            found += [" ".join(part.split("\n", 1)[1].split())]
    return found[:N_PASSAGES]


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", help="model folder (default: the embedded one)")
    parser.add_argument(
        "--runs", type=int, default=7, help="cold processes, and warm calls in the last of them"
    )
    args = parser.parse_args()
    texts = passages()
    cold: list[float] = []
    last: dict[str, Any] = {}
    for n in range(args.runs):
        warm_calls = args.runs if n == args.runs - 1 else 0
        start = time.perf_counter()
        done = subprocess.run(  # noqa: S603 - this very interpreter
            [sys.executable, "-c", _CHILD, json.dumps(args.model), QUERY, str(warm_calls)],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            check=True,
        )
        if not warm_calls:
            cold.append(1e3 * (time.perf_counter() - start))
        last = json.loads(done.stdout)
    warm = last.pop("warm_ms")
    words = statistics.mean(len(t.split()) for t in texts)
    report = {
        "passages": len(texts),
        "mean_words": round(words, 1),
        "cold_ms": {"median": round(statistics.median(cold)), "best": round(min(cold))},
        "warm_ms": {"median": round(statistics.median(warm), 1), "best": round(min(warm), 1)},
        "engine": last["engine"],
        "peak_mib": round(last["peak_mib"]),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
