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
    refused = [level["refused_tokens_share"] for level in levels]
    left.plot(offered, refused, marker="s", label="share of tokens refused with 429")
    left.axhline(0.9, color="0.5", linewidth=0.8, linestyle="--", label="0.9 of the engine alone")
    left.set(
        xlabel="offered load / engine alone", ylabel="of the engine alone", ylim=(0, 1.4), xlim=(0, None)
    )
    left.legend(loc="upper left")
    for p in ("p50", "p95", "p99"):
        right.plot(offered, [level["latency_s"][p] for level in levels], marker="o", label=p)
    bound = result["queue_s"] + result["batch_s"]
    right.axhline(
        bound, color="0.5", linewidth=0.8, linestyle="--", label=f"queue and one batch: {bound:.1f} s"
    )
    right.set(
        xlabel="offered load / engine alone",
        ylabel="seconds, accepted requests",
        ylim=(0, None),
        xlim=(0, None),
    )
    right.legend(loc="upper left")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def plot_servers(result: dict[str, Any], path: Path) -> None:
    """p99 of each server over the rate."""
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for name, server in result["servers"].items():
        points = sorted((rung["rate"], rung["latency_s"]["p99"]) for rung in server["rungs"] if _p99(rung))
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.axhline(result["limit_s"], color="0.5", linewidth=0.8, linestyle="--", label="limit")
    axes.set(xlabel="requests per second", ylabel="p99 latency, seconds", yscale="log", xlim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def table(result: dict[str, Any]) -> str:
    """The same in Markdown."""
    machine, alone = result["machine"], result["alone"]
    documents, tokens = result["mean_documents_per_request"], result["mean_tokens_per_request"]
    head = f"{machine['cpu']}, {machine['cores']} cores, {result['threads']} engine threads."
    head += f" {result['seconds']:g} seconds a rate. {result['quiet']['verdict']}\n"
    head += f"Engine alone: {alone['engine_tokens_per_s']:,.0f} tokens/s; the library with tokenization:"
    head += f" {alone['library_tokens_per_s']:,.0f}.\n"
    head += f"A request has {documents:.0f} documents and {tokens:,.0f} tokens on average: the engine alone"
    head += f" would do {result['capacity_requests_per_s']:.2f} requests/s.\n"
    lines = _levels(result) if "levels" in result else _servers(result)
    return "\n".join([head, *lines, ""])


def _levels(result: dict[str, Any]) -> list[str]:
    capacity = result["alone"]["engine_tokens_per_s"]
    lines = [
        f"The queue holds {result['queue_s']:g} s of work, a batch takes {result['batch_s']:.2f} s.",
        "Shares are of the engine's tokens; latencies are those of accepted requests, in seconds.",
        "",
        "| offered | answered | requests | refused (429) | of the tokens | other | p50 | p95 | p99 | most |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for level in result["levels"]:
        offered, done = (level[f"{name}_tokens_per_s"] / capacity for name in ("offered", "goodput"))
        other = sum(n for status, n in level["statuses"].items() if str(status) not in {"200", "429"})
        times = " | ".join(_seconds(level["latency_s"][p]) for p in ("p50", "p95", "p99", "p100"))
        refused = f"{level['refused_share']:.0%} | {level['refused_tokens_share']:.0%}"
        lines.append(f"| {offered:.0%} | {done:.0%} | {level['requests']} | {refused} | {other} | {times} |")
    return lines


def _servers(result: dict[str, Any]) -> list[str]:
    first = next(iter(result["servers"].values()))["best_per_s"]
    lines = [
        f"| server | requests/s, p99 under {result['limit_s']:g} s | p99 | at its fullest | first is |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, server in result["servers"].items():
        best = server["best_per_s"]
        lowest = min(rung["rate"] for rung in server["rungs"])
        p99 = next((_p99(rung) for rung in server["rungs"] if rung["rate"] == best), None)
        rate = f"under {lowest:.2f}" if best is None else f"{best:.2f}"
        times = "" if best is None or first is None else f"{first / best:.1f} times"
        lines.append(f"| {name} | {rate} | {_seconds(p99)} | {server['fullest_per_s']:.2f} | {times} |")
    return lines


def _p99(rung: dict[str, Any]) -> float | None:
    found: float | None = rung["latency_s"]["p99"]
    return found


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def write(result: dict[str, Any], path: Path) -> None:
    """Plot and table beside the numbers."""
    (plot_levels if "levels" in result else plot_servers)(result, path.with_suffix(".png"))
    path.with_suffix(".md").write_text(table(result), encoding="utf-8")


if __name__ == "__main__":
    source = Path(sys.argv[1])
    write(json.loads(source.read_text(encoding="utf-8")), source)
