"""Plots of ``load.py``; also by hand: ``python benchmarks/load_plot.py docs/results/load.json``."""

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


if __name__ == "__main__":
    source = Path(sys.argv[1])
    read = json.loads(source.read_text(encoding="utf-8"))
    (plot_levels if "levels" in read else plot_ladders)(read, source.with_suffix(".png"))
