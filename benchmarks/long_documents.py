"""How well evidence is found deep inside long documents: the whole document at once, against ``window``.

    python benchmarks/long_documents.py SET… [--queries 30] [--depth 20] [--windows 192 512]

Every candidate of a query (first-stage list as given) is hidden among passages of the same corpus that no
judgement names for that query, until the document has so many tokens; the evidence stands at the start, in
the middle or at the end, in turn over the queries. Each candidate's fillers are its own and are the same for
all modes. The first length, 0, is the passage alone. NDCG@10 is that of the documents' order, so a mode
that reads everything and is distracted by nothing keeps the figure of the passages. Scores are kept below
``--work``; writes ``results.json``, ``report.md`` and ``plot.png`` to ``--out`` and, where that is the
default, the table of docs/quality.md between ``<!-- long-documents -->`` and ``<!-- /long-documents -->``.
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
from page import DOCS, fill
from tokenizers import Tokenizer

from tinyrerank import Reranker
from tinyrerank.evaluate.beir import read_corpus, whole_text
from tinyrerank.evaluate.first_stage import Task, load_task
from tinyrerank.evaluate.metrics import measure
from tinyrerank.evaluate.significance import randomization_test
from tinyrerank.model.hub import resolve_model
from tinyrerank.train.manifest import sha256, surroundings

OUT = DOCS / "results/long-documents"
METRIC = "NDCG@10"
PLACES = ("start", "middle", "end")
WHOLE = "whole"
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
    keep: Path = args.work / f"{task.name}.{args.depth}.{sha256(model / 'model.safetensors')[:12]}.json"
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
                wanted = [m for m in modes(args.windows) if f"{n_tokens} {m} {query}" not in kept]
                if not wanted:
                    continue
                room = n_tokens - 32 - len(tokenizer.encode(task.queries[query]).ids) if n_tokens else 0
                texts = [hider.hide(query, d, max(0, room), place[query]) for d in task.run[query]]
                for mode in wanted:
                    start = time.perf_counter()
                    logits = rank(reranker, task.queries[query], texts, mode)
                    took = time.perf_counter() - start
                    kept[f"{n_tokens} {mode} {query}"] = {"logits": logits, "seconds": took}
                keep.write_text(json.dumps(kept))
            print(f"{task.name}: {n_tokens} tokens done", flush=True)
    qrels = {q: task.qrels[q] for q in found}
    out: dict[str, Any] = {"place": place, "values": {}, "seconds": {}}
    for n_tokens in (0, *args.tokens):
        for mode in modes(args.windows):
            name = f"{n_tokens} {mode}"
            run = {}
            for q in found:
                order = np.argsort(-np.array(kept[f"{name} {q}"]["logits"]), kind="stable")
                run[q] = [task.run[q][i] for i in order]
            out["values"][name] = measure(qrels, run)[METRIC]
            out["seconds"][name] = sum(kept[f"{name} {q}"]["seconds"] for q in found)
    return out


def modes(windows: Sequence[int]) -> list[str]:
    """The whole document, then a mode for each length of windows."""
    return [WHOLE, *(f"window {n}" for n in windows)]


def rank(reranker: Reranker, query: str, texts: Sequence[str], mode: str) -> list[float]:
    """Logits of documents, read whole or in windows."""
    if mode == WHOLE:
        return [float(x) for x in reranker.score(query, texts)]
    length = int(mode.split()[1])
    return [float(x) for x in reranker.score(query, texts, policy="window", max_length=length)]


def mean(results: dict[str, Any], name: str, place: str | None = None) -> float:
    """NDCG@10 of a length and mode, mean over sets; of one place of the evidence, if it is given."""
    by_set = [
        [v for q, v in found["values"][name].items() if place in {None, found["place"][q]}]
        for found in results["sets"].values()
    ]
    return float(np.mean([np.mean(values) for values in by_set if values]))


def p_value(results: dict[str, Any], length: int, mode: str) -> float:
    """Of the difference between the whole and a mode, paired over queries."""
    groups = [
        [v - f["values"][f"{length} {mode}"][q] for q, v in f["values"][f"{length} {WHOLE}"].items()]
        for f in results["sets"].values()
    ]
    [test] = randomization_test(groups)
    return test.p


def page(results: dict[str, Any]) -> str:
    """The table of docs/quality.md: a row a length, a column a mode, p of the first window."""
    names = modes(results["settings"]["windows"])
    titles = ["read whole", *(f"in windows of {n}" for n in results["settings"]["windows"])]
    lines = [
        f"| tokens of the document | {' | '.join(titles)} | p |",
        "| --: |" + " --: |" * (1 + len(names)),
    ]
    for length in (0, *results["settings"]["tokens"]):
        cells = [f"{mean(results, f'{length} {mode}'):.3f}" for mode in names]
        cells.append(f"{p_value(results, length, names[1]):.4f}")
        lines.append(f"| {length or 'the passage alone'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def report(results: dict[str, Any]) -> str:
    """Markdown: every mode by length, with its seconds, then by place."""
    settings, sets = results["settings"], results["sets"]
    lengths, names = (0, *settings["tokens"]), modes(settings["windows"])
    n = sum(len(found["place"]) for found in sets.values())
    lines = [
        f"Mean NDCG@10 over {', '.join(sets)} ({n} queries, best {settings['depth']} of each list), a table",
        "for each mode: the document read whole, or in windows of so many tokens. The change is that against",
        "the passage alone, p that against the whole (paired randomization test over queries).",
    ]
    for mode in names:
        lines += ["", f"## {mode}", "", f"| tokens | NDCG@10 | change | p | seconds | {' | '.join(PLACES)} |"]
        lines.append("| --: |" + " --: |" * (4 + len(PLACES)))
        for length in lengths:
            value = mean(results, f"{length} {mode}")
            cells = [
                str(length or "passage"),
                f"{value:.4f}",
                f"{100 * (value / mean(results, f'0 {mode}') - 1):+.1f} %",
                "" if mode == WHOLE else f"{p_value(results, length, mode):.4f}",
                f"{sum(found['seconds'][f'{length} {mode}'] for found in sets.values()):.0f}",
                *(f"{mean(results, f'{length} {mode}', place):.3f}" for place in PLACES),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "# Evidence inside long documents\n\n" + "\n".join(lines) + "\n"


def plot(results: dict[str, Any], path: Path) -> None:
    """NDCG@10 by length, a line a mode."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    lengths = (0, *results["settings"]["tokens"])
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for mode in modes(results["settings"]["windows"]):
        values = [mean(results, f"{n} {mode}") for n in lengths]
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
    add("--windows", type=int, nargs="+", default=[192, 512], help="their tokens (default: 192 512)")
    add("--threads", type=int, default=1)
    add("--work", type=Path, default=Path("runs/long-documents"))
    add("--out", type=Path, default=OUT)
    args = parser.parse_args()
    model = resolve_model(args.model)
    settings = {k: getattr(args, k) for k in ("queries", "depth", "tokens", "windows", "threads")}
    settings["model"] = sha256(model / "model.safetensors")
    results: dict[str, Any] = {"settings": settings, **surroundings(), "sets": {}}
    for folder in args.sets:
        results["sets"][folder.name] = score(folder, args, model)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (args.out / "report.md").write_text(report(results), encoding="utf-8")
    plot(results, args.out / "plot.png")
    if args.out == OUT:
        fill(DOCS / "quality.md", "long-documents", page(results))
    print(report(results))


if __name__ == "__main__":
    main()
