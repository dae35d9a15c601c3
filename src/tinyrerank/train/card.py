"""Writes a model card from a manifest, so that the card says what was done and nothing else."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

_LICENCES = {
    "squad2-dev": "CC BY-SA 4.0",
    "medquad": "CC BY 4.0",
    "boolq": "CC BY-SA 3.0",
    "fairytaleqa": "Apache-2.0, stories in the public domain",
    "pubmedqa": "MIT",
    "covidqa": "Apache-2.0, papers under CORD-19 licences",
    "covid-faq": "Apache-2.0, text of public health bodies",
    "fool-me-twice": "Apache-2.0, Wikipedia text CC BY-SA",
    "scitldr": "Apache-2.0",
    "openstax-sections": "CC BY 3.0",
    "openstax-corpus": "CC BY 3.0",
    "owasp-sections": "CC BY-SA 4.0",
    "factbook-fields": "public domain",
    "factbook-corpus": "public domain",
    "wikipedia-2wiki-corpus": "CC BY-SA",
    "msmarco-dev-sample": "MS MARCO: non-commercial research",
    "msmarco-v2-dl22-unlabelled": "MS MARCO: non-commercial research",
    "arxiv-abstracts.jsonl.gz": "CC0 (arXiv metadata)",
    "bmc-abstracts.jsonl.gz": "CC BY (BioMed Central)",
    "fields.jsonl.gz": "public domain, CC0, CC BY, CC BY-SA, CDLA-Sharing (`recipes/tiny-en/fields --list`)",
    "fields-abstracts.jsonl.gz": "CC BY or CC0 (papers of PubMed Central, ACL Anthology, PLOS)",
    "queries-only": "MS MARCO (non-commercial research), Natural Questions, TriviaQA, TREC",
}

_TEACHERS = {
    "all-MiniLM-L6-v2": "Apache-2.0",
    "all-mpnet-base-v2": "Apache-2.0",
    "multilingual-e5-small": "MIT",
    "bge-small-en-v1.5": "MIT",
    "ms-marco-MiniLM-L-12-v2": "Apache-2.0",
}

_HEAD = """\
---
language: en
license: apache-2.0
pipeline_tag: text-ranking
---

# {name}

A cross-encoder that scores how well a document answers a query: JinaBERT with {layers} layers, hidden
size {hidden}, GEGLU, symmetric ALiBi, {parameters:,} parameters, up to {length:,} tokens. Matrices are stored
as int8 with a scale a row. This card was written by the training run from `manifest.json` beside it.
{reading}
## How it was trained

{steps}

Machine: {machine}. Code revision {revision}.

## Data

| set | licence |
| --- | --- |
{data}

Teachers: {teachers}.

Weights trained on MS MARCO derived queries are given away as is the field's custom; whoever needs weights
free of them can leave those sets out of the recipe. No evaluation set was trained on.

## Held-out lists of the training sets (NDCG@10)

Used for tuning. They say how the training went, not how the model compares with others: the evaluation page
of the documentation does that.

| set | before ranking distillation | after |{teacher_head}
| --- | --- | --- |{teacher_rule}
{held_out}
"""


def model_card(manifest: dict[str, Any]) -> str:
    """The card of a run, in Markdown; of the runs that it goes on from, too.

    Args:
        manifest: what :func:`tinyrerank.train.export.make_manifest` returns.
    """
    goes = _goes(manifest)
    names = list(dict.fromkeys(name for go in goes for name in go["data"]))
    rounds, stages = manifest["recipe"]["rank"], manifest["stages"]
    before, after = stages["rank-1"]["dev_before"], stages[f"rank-{len(rounds)}"]["dev_after"]
    fused = manifest["teachers"].get("all fused", {})
    rows = [
        f"| {name} | {before[name]:.3f} | {after[name]:.3f} |" + (f" {fused[name]:.3f} |" if fused else "")
        for name in after
    ]
    steps = [step for go in goes for step in _steps(go)]
    folders = [PurePath(teacher["folder"]).name for go in goes for teacher in go["recipe"]["teacher"]]
    teachers = [f"{name} ({_TEACHERS.get(name, 'see its own card')})" for name in dict.fromkeys(folders)]
    notes = [go["note"] for go in goes if "note" in go]
    return _HEAD.format(
        name=manifest["name"],
        layers=len(goes[0]["recipe"]["warm_start"]["layers"]),
        hidden=384,
        length=8192,
        reading=_reading(*(manifest["recipe"].get(f"{side}_window", 0) for side in ("query", "document"))),
        parameters=manifest["parameters"],
        steps="\n".join(f"{n}. {step}" for n, step in enumerate(steps, 1)),
        machine=" with ".join(
            manifest["machine"][part] for part in ("cpu", "gpu") if part in manifest["machine"]
        ),
        revision=manifest["revision"][:12],
        data="\n".join(f"| {name} | {_LICENCES.get(name, 'see the data README')} |" for name in names),
        teachers=", ".join(teachers),
        teacher_head=" teacher |" if fused else "",
        teacher_rule=" --- |" if fused else "",
        held_out="\n".join(rows) or "| (nothing was held out) | | |",
    ) + "".join(f"\n{note}\n" for note in notes)


def _reading(query_window: int, document_window: int) -> str:
    said = ""
    if query_window:
        how = (
            "is read in even parts (`query_window` in `config.json`), and\nthe mean of their logits counts.\n"
        )
        said += f"\nA query of more than {query_window} tokens {how}"
    if document_window:
        said += (
            f"\nUnder the policy `window`, windows have {document_window} tokens (`document_window`), query"
            " included, unless\nanother length is asked for.\n"
        )
    return said


def _goes(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The manifests of a run and of those that it goes on from, the first one first."""
    start = manifest.get("start", {}).get("manifest")
    return [*(_goes(start) if start else []), manifest]


def _opinions(teacher: dict[str, Any]) -> str:
    """What a teacher was asked for."""
    name = teacher["folder"]
    said, late = [], teacher.get("late_weight")
    if teacher["weight"]:
        said.append(
            f"the similarities of {name}" + (" (and late interaction over its tokens)" if late else "")
        )
    elif late:
        said.append(f"late interaction over {name}'s tokens")
    if teacher["cross_weight"]:
        trained = f"a cross-encoder from {'it' if said else name}"
        said.append(trained if teacher["minutes"] else f"the cross-encoder {name}")
    return " and ".join(said)


def _steps(manifest: dict[str, Any]) -> list[str]:
    """What one run did, a sentence a stage."""
    recipe, stages = manifest["recipe"], manifest["stages"]
    start, rounds = recipe["warm_start"], recipe["rank"]
    teachers = " and ".join(_opinions(t) for t in recipe["teacher"])
    bm25 = recipe["mine"]["bm25_weight"]
    losses = ", ".join(f"{name} x {weight:g}" for name, weight in rounds[0]["losses"].items())
    longest = max(r["max_length"] for r in rounds)
    n_runs = sum(r.get("runs", 1) for r in rounds)
    before, other = rounds[-1].get("start_share", 0), rounds[-1].get("share_of")
    whose = f"Weights from further back (`{other}`)" if other else "The weights from before"
    ranking = (
        f"Ranking distillation on candidate lists of pairs of up to {longest} tokens\n"
        f"   (losses: {losses}), labelled by {teachers}{f' and BM25 x {bm25:g}' if bm25 else ''}:\n"
        f"   {round(stages['rank']['seconds'] / 60)} minutes in {len(rounds)} round(s)"
        + (f" of {n_runs} runs, whose weights' mean was taken." if n_runs > len(rounds) else ".")
        + (f" {whose} have a share of {before:g} in those after." if before else "")
    )
    if "hidden" not in stages:
        return [ranking]
    layers = ", ".join(map(str, start["layers"]))
    warm = (
        f"It starts from {start['folder']} (layers {layers}), whose plain feed-forward blocks turn into\n"
        "   gated ones; heads go to the ALiBi slopes that suit how far they look."
    )
    minutes = round(stages["hidden"]["seconds"] / 60)
    return [warm, f"Hidden-state distillation on plain text: {minutes} minutes.", ranking]
