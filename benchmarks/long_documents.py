"""How well evidence is found deep inside long documents: the whole document at once, against ``window``.

    python benchmarks/long_documents.py SET… [--queries 30] [--depth 20] [--tokens 512 1024 2048 4096 8192]

Every candidate of a query (first-stage list as given) is hidden among passages of the same corpus that no
judgement names for that query, until the document has so many tokens; the evidence stands at the start, in
the middle or at the end, in turn over the queries. Each candidate's fillers are its own and are the same for
both modes. The first length, 0, is the passage alone. NDCG@10 is that of the documents' order, so a mode that
reads everything and is distracted by nothing keeps the figure of the passages. Scores are kept below
``--work``; writes ``results.json``, ``report.md`` and ``plot.png`` to ``--out``.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tinyrerank import Reranker
from tinyrerank.evaluate.beir import read_corpus, whole_text
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.metrics import measure
from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.model.hub import resolve_model
from tinyrerank.train.manifest import sha256, surroundings

ROOT = Path(__file__).resolve().parents[1]
METRIC = "NDCG@10"
PLACES = ("start", "middle", "end")
MODES = ("whole", "window")
Kept = dict[str, Any]


class Hider:
    """Puts passages into long documents.

    Args:
        task: the set; candidates keep their texts.
        folder: of the set, for its corpus.
        tokenizer: counts tokens.
    """

    def __init__(self, task: Task, folder: Path, tokenizer: Tokenizer) -> None:
        documents, _ = read_corpus(folder)
        self.task, self.tokenizer = task, tokenizer
        self.texts = {key: whole_text(d) for key, d in documents.items()}
        self.keys = sorted(self.texts)

    def hide(self, query: str, key: str, n_tokens: int, place: str) -> str:
        """The passage ``key`` among others, about ``n_tokens`` in all (0: alone)."""
        own = self.texts[key]
        if not n_tokens:
            return own
        chance = random.Random(f"{query} {key}")  # the same fillers at every length, more of them
        judged = self.task.qrels[query].keys() | set(self.task.run[query])
        room, fillers = n_tokens - self._count(own), list[str]()
        while room > 0:
            other = chance.choice(self.keys)
            if other in judged or not self.texts[other]:
                continue
            text = self._cut(self.texts[other], room)
            room -= self._count(text) or 1
            fillers.append(text)
        at = {"start": 0, "middle": len(fillers) // 2, "end": len(fillers)}[place]
        return "\n\n".join([*fillers[:at], own, *fillers[at:]])

    def _count(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _cut(self, text: str, n_tokens: int) -> str:
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        return text[: offsets[n_tokens - 1][1]] if len(offsets) > n_tokens else text


def score(folder: Path, args: argparse.Namespace, model: Path) -> dict[str, Any]:
    """NDCG@10 by length, mode and query, the place of each query's evidence, and seconds."""
    task = load_task(folder, depth=args.depth)
    keep: Path = (
        args.work / f"{task.name}.{args.depth}.{args.window}.{sha256(model / 'model.safetensors')[:12]}.json"
    )
    kept: Kept = json.loads(keep.read_text()) if keep.exists() else {}
    keep.parent.mkdir(parents=True, exist_ok=True)
    # Queries for which something is to be found among their candidates.
    found = [q for q in task.run if any(task.qrels[q].get(d, 0) > 0 for d in task.run[q])][: args.queries]
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    hider = Hider(task, folder, tokenizer)
    place = {query: PLACES[n % 3] for n, query in enumerate(found)}
    with Reranker(model, threads=args.threads) as reranker:
        for n_tokens in (0, *args.tokens):
            for query in found:
                wanted = [m for m in MODES if f"{n_tokens} {m} {query}" not in kept]
                if not wanted:
                    continue
                room = n_tokens - 32 - len(tokenizer.encode(task.queries[query]).ids) if n_tokens else 0
                texts = [hider.hide(query, d, max(0, room), place[query]) for d in task.run[query]]
                for mode in wanted:
                    start = time.perf_counter()
                    logits = rank(reranker, task.queries[query], texts, mode, args.window)
                    took = time.perf_counter() - start
                    kept[f"{n_tokens} {mode} {query}"] = {"logits": logits, "seconds": took}
                keep.write_text(json.dumps(kept))
            print(f"{task.name}: {n_tokens} tokens done", flush=True)
    qrels = {q: task.qrels[q] for q in found}
    out: dict[str, Any] = {"place": place, "values": {}, "seconds": {}}
    for n_tokens in (0, *args.tokens):
        for mode in MODES:
            name = f"{n_tokens} {mode}"
            run = {}
            for q in found:
                order = np.argsort(-np.array(kept[f"{name} {q}"]["logits"]), kind="stable")
                run[q] = [task.run[q][i] for i in order]
            out["values"][name] = measure(qrels, run)[METRIC]
            out["seconds"][name] = sum(kept[f"{name} {q}"]["seconds"] for q in found)
    return out


def rank(reranker: Reranker, query: str, texts: Sequence[str], mode: str, window: int) -> list[float]:
    """Logits of documents, read whole or in windows."""
    if mode == "whole":
        return [float(x) for x in reranker.score(query, texts)]
    return [float(x) for x in reranker.score(query, texts, policy="window", max_length=window)]


def report(results: dict[str, Any]) -> str:
    """Markdown: both modes by length, then by place."""
    settings, sets = results["settings"], results["sets"]
    lengths = (0, *settings["tokens"])
    n = sum(len(found["place"]) for found in sets.values())
    lines = [
        f"Mean NDCG@10 over {', '.join(sets)} ({n} queries, best {settings['depth']} of each list).",
        f"`window` reads windows of {settings['window']} tokens. The change is that against the passage",
        "alone, p that of whole against window (paired randomization test over queries).",
        "",
        "| tokens | whole | change | window | change | p | seconds whole | seconds window |",
        "| --: | --: | --: | --: | --: | --: | --: | --: |",
    ]

    def mean(name: str, place: str | None = None) -> float:
        by_set = [
            [v for q, v in found["values"][name].items() if place in {None, found["place"][q]}]
            for found in sets.values()
        ]
        return float(np.mean([np.mean(values) for values in by_set if values]))

    for length in lengths:
        whole, window = mean(f"{length} whole"), mean(f"{length} window")
        groups = [
            [v - f["values"][f"{length} window"][q] for q, v in f["values"][f"{length} whole"].items()]
            for f in sets.values()
        ]
        [test] = randomization_test(groups)
        seconds = [sum(f["seconds"][f"{length} {m}"] for f in sets.values()) for m in MODES]
        change = [
            f"{100 * (x / mean(f'0 {m}') - 1):+.1f} %" for x, m in zip((whole, window), MODES, strict=True)
        ]
        cells = [str(length or "passage"), f"{whole:.4f}", change[0], f"{window:.4f}", change[1]]
        cells += [f"{test.p:.4f}", *(f"{s:.0f}" for s in seconds)]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "By the place of the evidence (a third of the queries each), whole / window:", ""]
    lines += ["| tokens | " + " | ".join(PLACES) + " |", "| --: | --: | --: | --: |"]
    for length in lengths:
        cells = [f"{mean(f'{length} whole', p):.3f} / {mean(f'{length} window', p):.3f}" for p in PLACES]
        lines.append("| " + " | ".join([str(length or "passage"), *cells]) + " |")
    return "# Evidence inside long documents\n\n" + "\n".join(lines) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    """NDCG@10 by length, a line a mode."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    lengths = (0, *results["settings"]["tokens"])
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for mode in MODES:
        values = [
            float(
                np.mean(
                    [np.mean(list(f["values"][f"{n} {mode}"].values())) for f in results["sets"].values()]
                )
            )
            for n in lengths
        ]
        axes.plot(range(len(lengths)), values, marker="o", label=mode)
    axes.set_xticks(range(len(lengths)), [str(n or "passage") for n in lengths])
    axes.set_xlabel("tokens of the document")
    axes.set_ylabel(METRIC)
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("sets", nargs="+", type=Path, help="BEIR folders")
    add("--model", help="model folder (default: the model in the package)")
    add("--queries", type=int, default=30, help="of each set at most (default: 30)")
    add("--depth", type=int, default=20, help="candidates of each query (default: 20)")
    add("--tokens", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
    add("--window", type=int, default=512, help="tokens of a window (default: 512)")
    add("--threads", type=int, default=1)
    add("--work", type=Path, default=Path("runs/long-documents"))
    add("--out", type=Path, default=ROOT / "docs/results/long-documents")
    args = parser.parse_args()
    model = resolve_model(args.model)
    settings = {k: getattr(args, k) for k in ("queries", "depth", "tokens", "window", "threads")}
    settings["model"] = sha256(model / "model.safetensors")
    results: dict[str, Any] = {"settings": settings, **surroundings(), "sets": {}}
    for folder in args.sets:
        results["sets"][folder.name] = score(folder, args, model)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "report.md").write_text(report(results), encoding="utf-8")
    plot(results, args.out / "plot.png")
    print(report(results))


if __name__ == "__main__":
    main()
