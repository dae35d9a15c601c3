"""All the measurements that docs/performance.md stands on, one file each in docs/results/bench.

    python benchmarks/figures.py [--threads 2] [--model FOLDER] [--work DIR] [--only mix,pair] [--quick]

Needs the extra ``bench`` and a machine with nothing else to do; about ten minutes on two cores. Exported and
quantized models and random weights of other geometries are kept in ``--work``, where a later run finds them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "bench"

#: Name of the results file -> arguments of ``tinyrerank bench``.
SUITES = {
    "mix": "--workloads mix --against onnx,onnxruntime:int8,onnxruntime:fp32,openvino:bf16,openvino:int8,"
    "torch:eager-bf16,torch:sdpa-bf16 --seconds 1.5 --cold-start 15",
    "end-to-end": "--workloads mix --end-to-end --engines native:int8"
    " --against onnxruntime:int8,openvino:bf16,openvino:int8 --seconds 1.5",
    "pair": "--workloads 1x64 --engines native:int8 --against onnxruntime:int8,openvino:bf16,openvino:int8,"
    "torch:eager-bf16",
    "long-4096": "--workloads 10x4096 --engines native:int8,native:bf16"
    " --against openvino:bf16,openvino:sdpa-bf16 --rounds 3 --seconds 2",
    "long-8192": "--workloads 4x8192 --engines native:int8,native:bf16 --against openvino:sdpa-bf16"
    " --rounds 1 --seconds 2",
    "length": "--workloads 256x64,128x128,64x256,32x512,16x1024 --engines native:int8"
    " --against openvino:bf16 --rounds 1 --seconds 0.7",
    "length-ours": "--workloads 8x2048,4x4096,2x8192 --engines native:int8 --rounds 2 --seconds 1",
    "documents": "--workloads 1x150,10x150,100x150,1000x150 --engines native:int8 --rounds 1 --seconds 1.5",
    "one-thread": "--workloads mix,1x64 --engines native:int8 --threads 1 --rounds 3 --seconds 1.5",
    "as-run": "--workloads mix --engines native:int8,native:int8@base --against torch:hf,torch:compile-bf16"
    ",llama-cpp:q8,llama-cpp:bf16"
    " --rounds 2 --seconds 1.5",
    "as-run-texts": "--workloads mix --end-to-end --engines native:int8"
    " --against cross-encoder:minilm-l6,cross-encoder:minilm-l12,onnxruntime:in-order@minilm-l6"
    " --rounds 1 --seconds 0",
    "avx2": "--workloads mix --engines native:int8,native:fp32"
    " --against onnx,onnxruntime:int8,onnxruntime:fp32,openvino:int8 --rounds 3 --seconds 3",
    "amx": "--workloads mix --engines native:int8,native:bf16"
    " --against onnx,onnxruntime:int8,openvino:bf16,openvino:int8,torch:eager-bf16,torch:sdpa-bf16"
    " --rounds 3 --seconds 3",
}
#: Measured on machines whose best is AVX2 or AMX, and only when named.
ELSEWHERE = {"avx2", "amx"}


def main() -> None:
    """Run the suites one after the other and say how long each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="model folder (default: the embedded)")
    parser.add_argument("--threads", default="2", help="threads of a call (default: 2)")
    parser.add_argument("--work", help="folder for prepared models, kept between runs")
    parser.add_argument("--only", help=f"some of: {', '.join(SUITES)}")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="one round and one call each, to try it out")
    args = parser.parse_args()
    usual = [name for name in SUITES if name not in ELSEWHERE]
    for name in args.only.split(",") if args.only else usual:
        start = time.monotonic()
        command = [sys.executable, "-m", "tinyrerank", "bench", "--threads", args.threads]
        command += [*SUITES[name].split(), "--out", str(args.out / f"{name}.json")]
        command += ["--model", args.model] if args.model else []
        command += ["--work", args.work] if args.work else []
        command += ["--rounds", "1", "--seconds", "0"] if args.quick else []
        code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command
        print(f"== {name}: exit code {code}, {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
