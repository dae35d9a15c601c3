"""Where the time of a request goes: samples of a process that ranks mix over and over, by kind of work.

    cmake -S . -B build/profile -DCMAKE_BUILD_TYPE=RelWithDebInfo && cmake --build build/profile
    python benchmarks/profile_ranking.py --native build/profile/_native*.so [--threads 1] [--workload mix]

Linux only: needs ``perf`` and a native engine with symbols, which the ordinary build strips. Writes
docs/results/bench/profile-WORKLOAD.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "bench"

#: Kind of work -> the functions that do it (the first that matches counts); "" takes the rest.
KINDS = {
    "products with weights": r"tile_int8|multiply<.*Int8Product.*\[clone \.part",
    "products in attention": r"tile_bf16|Attention::tile",
    "attention: softmax, ALiBi, bounds, packing": r"attend<|transpose16|Tile<|pack_|centre_of|radius_of",
    "feed-forward: dequantization, GELU, gate": r"feed_forward_up",
    "other epilogues: dequantization, quantization, residuals": r"block<|embed<|Int8Product::encode",
    "LayerNorm": r"norm_row",
    "last layer for the first token": r"finish<|score_tokens|tile_fp32|multiply_fp32",
    "tokenization": r"_bpe|Bpe::|tokenizers",
    "threads waiting and waking": r"Pool::|futex|pthread|schedule",
    "copies, and pages given by the kernel": r"memmove|memcpy|memset|clear_page|page_fault|rmqueue|zero",
    "Python and the rest": r"",
}
CHILD = """
import importlib.machinery, importlib.util, sys, time
from pathlib import Path
if sys.argv[1]:
    name = "tinyrerank.engine.native._native"
    import tinyrerank.engine
    spec = importlib.util.spec_from_file_location(name, sys.argv[1])
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
from tinyrerank import Reranker
from tinyrerank.bench.workload import Workload
workload = Workload.load(Path(sys.argv[2]))
reranker = Reranker(sys.argv[5] or None, threads=int(sys.argv[3]))
end = time.perf_counter() + float(sys.argv[4])
while time.perf_counter() < end:
    reranker.rank(workload.query, workload.documents)
"""


def main() -> None:
    """Record, sum up, print and write."""
    from tinyrerank.bench.workload import make
    from tinyrerank.model.hub import resolve_model

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--native", default="", help="a native engine with symbols")
    parser.add_argument("--model", default="", help="model folder (default: the embedded)")
    parser.add_argument("--workload", default="mix")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workload, data = Path(folder) / "workload.npz", Path(folder) / "perf.data"
        make(args.workload, resolve_model(args.model or None)).save(workload)
        child = [sys.executable, "-c", CHILD, args.native, str(workload)]
        child += [str(args.threads), str(args.seconds), args.model]
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "1000", "-o", str(data), *child]
        subprocess.run(record, check=True)  # noqa: S603 - perf on our own code
        report = ["perf", "report", "-i", str(data), "--no-children", "--stdio", "-g", "none", "-t", "\t"]
        report += ["-F", "sample,dso,sym"]
        lines = subprocess.run(report, check=True, capture_output=True, text=True).stdout  # noqa: S603 - same
    samples = dict.fromkeys(KINDS, 0)
    for line in lines.splitlines():
        count, _, symbol = line.strip().partition("\t")
        if count.strip().isdigit():
            kind = next(kind for kind, pattern in KINDS.items() if re.search(pattern, symbol))
            samples[kind] += int(count)
    total = sum(samples.values())
    shares = {kind: n / total for kind, n in samples.items() if n}
    for kind, share in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"{share:6.1%}  {kind}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    figures = {"workload": args.workload, "threads": args.threads, "samples": total, "shares": shares}
    (RESULTS / f"profile-{args.workload}.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
