"""Throw bodies at every parser of the server, for so long, and stop at the first that escapes.

    python benchmarks/fuzz_parsers.py --seconds 600 --seed 0

Bodies are grown from valid ones of every dialect and of SageMaker: values replaced, keys swapped between
dialects, bytes flipped, pieces repeated and cut. A parser may return a request or raise one of the package's
own errors with a status below 500; anything else is a find, is written to ``--finds`` and ends the run with
code 1.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tinyrerank.errors import TinyrerankError
from tinyrerank.serve.bodies import decode_object
from tinyrerank.serve.dialects import dialects, sniff
from tinyrerank.serve.request import Outcome, Problem, RerankAnswer, RerankRequest, Stages, ranked
from tinyrerank.serve.sagemaker.bodies import Job, parse_invocation
from tinyrerank.serve.settings import Settings

SEEDS: tuple[dict[str, Any], ...] = (
    {"model": "m", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True},
    {"query": {"text": "q"}, "documents": ["a"], "truncation": True, "max_doc_length": 100},
    {"query": "q", "documents": [{"t": "a", "n": 3}], "rank_fields": ["t"], "max_chunks_per_doc": 3},
    {"query": "q", "texts": ["a", "b"], "truncate": True, "truncation_direction": "Left", "raw_scores": True},
    {"query": "q", "documents": ["a"], "top_k": 2, "truncation": False},
    {"query": "q", "documents": ["a"], "property": ""},
    {"query": "q", "property": "p"},
    {"query": "q", "documents": ["a"], "kwargs": "{}", "return_len": None, "top_n": None},
    {"query": "q", "documents": ["a"], "max_chunks_per_doc": 1024, "overlap_tokens": 80},
    {"text_1": "q", "text_2": ["a", "b"]},
    {"queries": ["q", "r"], "documents": ["a", "b"], "truncate_prompt_tokens": -1},
    {"query": "q", "documents": ["a"], "deadline_ms": 100, "policy": "window", "return_receipts": "true"},
    {"data": [{"query": "q", "documents": [{"text": "a", "id": "1"}], "top_n": 1}]},
    {"text_pairs": [["q", "a"]]},
    {"inputs": [{"text": "q", "text_pair": "a"}], "parameters": {"function_to_apply": "none"}},
)
_ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        10**30,
        0.5,
        -0.0,
        1e308,
        "",
        "true",
        "\0",
        "\ud800",
        "é" * 50,
    ),
    *([], {}, [[]], [{}], [None], {"text": None}, {"text": "t"}, ["a"] * 20, {"a": {"b": {"c": 1}}}),
)
VALUES = tuple(json.dumps(value) for value in _ODD)
KEYS = tuple({key for seed in SEEDS for key in seed})
KINDS = ("application/json", "application/jsonlines", "text/csv", "")


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz; 0 if nothing was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finds", type=Path, default=Path("fuzz-finds"))
    args = parser.parse_args(argv)
    rng = random.Random(args.seed)
    counts: Counter[str] = Counter()
    end = time.monotonic() + args.seconds
    while time.monotonic() < end:
        data = make(rng)
        try:
            counts[attempt(data, rng)] += 1
        except Exception:  # noqa: BLE001 - whatever escapes is what is looked for
            traceback.print_exc()
            args.finds.mkdir(parents=True, exist_ok=True)
            path = args.finds / f"find-{args.seed}-{sum(counts.values())}"
            path.write_bytes(data)
            print(f"found: {path}", file=sys.stderr)
            return 1
    print(json.dumps({"bodies": sum(counts.values()), "outcomes": dict(counts.most_common())}, indent=1))
    return 0


def make(rng: random.Random) -> bytes:
    """A body."""
    body: Any = json.loads(json.dumps(rng.choice(SEEDS)))
    for _ in range(rng.randrange(4)):
        body = mutate(body, rng)
    data = json.dumps(body).encode()
    if rng.random() < 0.1:
        data = b"\n".join([data, json.dumps(rng.choice(SEEDS)).encode(), b""])
    if rng.random() < 0.1:
        cells = ["1", "q", json.dumps(body), str(rng.choice(VALUES))]
        quoted = ('"' + cell.replace('"', '""') + '"' for cell in cells[rng.randrange(2) :])
        data = ",".join(quoted).encode(errors="surrogatepass")
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 0, 1, 2, 8))):
        data = scramble(data, rng)
    return data


def mutate(value: Any, rng: random.Random) -> Any:  # noqa: ANN401 - any JSON
    """The same value with something changed, somewhere inside."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        change = rng.randrange(5)
        if change == 0:
            del value[key]
        elif change == 1:
            value[rng.choice(KEYS)] = fresh(rng)
        elif change == 2:
            value[rng.choice(KEYS)] = value.pop(key)
        else:
            value[key] = mutate(value[key], rng)
        return value
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        if rng.random() < 0.3:
            value.insert(at, fresh(rng))
        else:
            value[at] = mutate(value[at], rng)
        return value
    return fresh(rng)


def fresh(rng: random.Random) -> Any:  # noqa: ANN401 - any JSON
    """A new odd value."""
    return json.loads(rng.choice(VALUES))


def scramble(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut, repeated or inserted."""
    at = rng.randrange(len(data) + 1)
    to = min(len(data), at + rng.randrange(1, 12))
    change = rng.randrange(4)
    if change == 0:
        return data[:at] + data[to:]
    if change == 1:
        return data[:to] + data[at:to] * rng.choice((1, 2, 500)) + data[to:]
    if change == 2:
        return data[:at] + rng.randbytes(rng.randrange(1, 6)) + data[at:]
    return (
        data[:at] + rng.choice((b"[", b"{", b'"', b"\\u", b"NaN", b"1e999", b"\xff", b"\n", b",")) + data[at:]
    )


def attempt(data: bytes, rng: random.Random) -> str:
    """Parse a body in one way, render an answer to what it asks, and say how it ended."""
    settings = Settings(jina_document=rng.choice(("object", "echo")))
    try:
        if rng.random() < 0.3:
            kind = rng.choice(KINDS)
            invocation = parse_invocation(data, kind, rng.choice(KINDS), settings)
            jobs = [job for job in invocation.jobs if isinstance(job, Job)]
            parts = [job.render(answer_to(job.request, rng)) for job in jobs]
            invocation.assemble(parts or [None])
            return "sagemaker"
        body = decode_object(data)
        dialect = sniff(body) if rng.random() < 0.5 else rng.choice(dialects())
        request = dialect.parse(body, settings)
        msgspec.json.encode(dialect.render(request, answer_to(request, rng)))
    except TinyrerankError as error:
        if error.http_status >= 500:
            raise
        str(error).encode()  # an error must be text that can be sent
        return f"refused {error.code}"
    return dialect.name


def answer_to(request: RerankRequest, rng: random.Random) -> RerankAnswer:
    """An answer as the core would give it, with made-up scores."""
    outcomes = [
        Outcome(problem=pair if isinstance(pair, Problem) else Problem("deadline", "late"))
        if isinstance(pair, Problem) or rng.random() < 0.1
        else Outcome(rng.uniform(-20, 20), 3, rng.choice((3, 9)), 1, (0, 4))
        for pair in request.pairs
    ]
    order = ranked(outcomes, request.top_n, in_order=request.in_order)
    return RerankAnswer(
        id="id",
        created=0,
        model="m",
        served_model="m",
        engine="none",
        device="cpu",
        outcomes=outcomes,
        order=order,
        tokens=10,
        cached=0,
        stages=Stages(),
        warnings=request.warnings,
    )


if __name__ == "__main__":
    sys.exit(main())
