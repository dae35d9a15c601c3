"""Plots and tables of ``load.py``; by hand: ``python benchmarks/load_plot.py docs/results/load.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def plot_levels(result: dict[str, Any], path: Path) -> None:
    """Goodput and refusals, and latency with its bound, over the offered load."""
    levels = result["levels"]
    capacity = result["alone"]["engine_tokens_per_s"]
    offered = [level["offered_tokens_per_s"] / capacity for level in levels]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(offered, offered, color="0.7", linestyle=":", label="offered")
    goodput = [level["goodput_tokens_per_s"] / capacity for level in levels]
    left.plot(offered, goodput, marker="o", label="answered (goodput)")
    left.plot(
        offered, [level["refused_share"] for level in levels], marker="s", label="share refused with 429"
    )
    left.axhline(0.9, color="0.5", linewidth=0.8, linestyle="--")
    left.set(
        xlabel="offered load / engine alone", ylabel="of the engine alone", ylim=(0, 1.3), xlim=(0, None)
    )
    left.legend()
    for p in ("p50", "p95", "p99"):
        right.plot(offered, [level["latency_s"][p] for level in levels], marker="o", label=p)
    bound = result["max_queue_tokens"] / capacity
    right.axhline(bound, color="0.5", linewidth=0.8, linestyle="--", label=f"queue: {bound:.1f} s of work")
    right.set(
        xlabel="offered load / engine alone",
        ylabel="seconds, accepted requests",
        ylim=(0, None),
        xlim=(0, None),
    )
    right.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_ladders(result: dict[str, Any], path: Path) -> None:
    """p99 of each server over the rate."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, rungs in result["ladders"].items():
        points = [(rung["rate"], rung["latency_s"]["p99"]) for rung in rungs if rung["latency_s"]["p99"]]
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.axhline(result["limit_s"], color="0.5", linewidth=0.8, linestyle="--", label="limit")
    axes.set(xlabel="requests per second", ylabel="p99 latency, seconds", yscale="log", xlim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def table(result: dict[str, Any]) -> str:
    """The same in Markdown."""
    machine, alone = result["machine"], result["alone"]
    speed = f"{alone['engine_tokens_per_s']:,.0f} tokens/s; library: {alone['library_tokens_per_s']:,.0f}"
    mean = (
        f"{result['mean_documents_per_request']:.0f} documents and {result['mean_tokens_per_request']:,.0f}"
    )
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {result['threads']} engine threads.",
        f"Engine alone: {speed}. {mean} tokens a request;",
        f"capacity {result['capacity_requests_per_s']:.2f} requests/s.",
        "",
    ]
    if "levels" in result:
        bound = result["max_queue_tokens"] / alone["engine_tokens_per_s"]
        lines += [
            f"The queue holds {bound:.1f} s of work. Latencies are those of accepted requests, in seconds.",
            "",
            "| offered | answered | refused (429) | other | p50 | p95 | p99 |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        for level in result["levels"]:
            offered, done = (
                level[name] / alone["engine_tokens_per_s"]
                for name in ("offered_tokens_per_s", "goodput_tokens_per_s")
            )
            other = sum(n for status, n in level["statuses"].items() if str(status) not in {"200", "429"})
            times = " | ".join(_seconds(level["latency_s"][p]) for p in ("p50", "p95", "p99"))
            lines.append(f"| {offered:.0%} | {done:.0%} | {level['refused_share']:.0%} | {other} | {times} |")
    else:
        lines += [
            f"| server | highest rate with p99 under {result['limit_s']:g} s, requests/s |",
            "| --- | --- |",
        ]
        for name, rungs in result["ladders"].items():
            kept = [rung["rate"] for rung in rungs if _keeps(rung, result["limit_s"])]
            lines.append(
                f"| {name} | {max(kept):.2f} |" if kept else f"| {name} | below {rungs[0]['rate']:.2f} |"
            )
    return "\n".join(lines) + "\n"


def _keeps(rung: dict[str, Any], limit_s: float) -> bool:
    p99 = rung["latency_s"]["p99"]
    return p99 is not None and p99 <= limit_s and {str(status) for status in rung["statuses"]} <= {"200"}


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def write(result: dict[str, Any], path: Path) -> None:
    """Plot and table beside the numbers."""
    (plot_levels if "levels" in result else plot_ladders)(result, path.with_suffix(".png"))
    path.with_suffix(".md").write_text(table(result), encoding="utf-8")


if __name__ == "__main__":
    source = Path(sys.argv[1])
    write(json.loads(source.read_text(encoding="utf-8")), source)
