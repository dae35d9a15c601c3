"""Writes a model card from a manifest, so that the card says what was done and nothing else."""

from __future__ import annotations

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
    "queries-only": "MS MARCO (non-commercial research), Natural Questions, TriviaQA, TREC",
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

## How it was trained

1. It starts from {start} (layers {from_layers}), whose plain feed-forward blocks turn into gated ones;
   heads go to the ALiBi slopes that suit how far they look.
2. Hidden-state distillation on plain text: {hidden_minutes} minutes.
3. Ranking distillation on candidate lists (losses: {losses}), labelled by {teachers}:
   {rank_minutes} minutes in {rounds} round(s).

Machine: {cpu}. Code revision {revision}.

## Data

| set | licence |
| --- | --- |
{data}

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
    """The card of a run, in Markdown.

    Args:
        manifest: what :func:`tinyrerank.train.export.make_manifest` returns.
    """
    recipe, stages = manifest["recipe"], manifest["stages"]
    names = list(manifest["data"])
    rounds = recipe["rank"]
    before, after = stages["rank-1"]["dev_before"], stages[f"rank-{len(rounds)}"]["dev_after"]
    fused = manifest["teachers"].get("all fused", {})
    rows = [
        f"| {name} | {before[name]:.3f} | {after[name]:.3f} |" + (f" {fused[name]:.3f} |" if fused else "")
        for name in after
    ]
    start = recipe["warm_start"]
    return _HEAD.format(
        name=manifest["name"],
        layers=len(start["layers"]),
        hidden=384,
        length=8192,
        parameters=manifest["parameters"],
        start=start["folder"],
        from_layers=", ".join(map(str, start["layers"])),
        hidden_minutes=round(stages["hidden"]["seconds"] / 60),
        rounds=len(rounds),
        rank_minutes=round(stages["rank"]["seconds"] / 60),
        losses=", ".join(f"{name} x {weight:g}" for name, weight in rounds[0]["losses"].items()),
        teachers=" and ".join(
            f"the similarities of {t['folder']}"
            + (" and a cross-encoder from it" if t["cross_weight"] else "")
            for t in recipe["teacher"]
        )
        + (f" and BM25 x {bm25:g}" if (bm25 := recipe["mine"]["bm25_weight"]) else ""),
        cpu=manifest["machine"]["cpu"],
        revision=manifest["revision"][:12],
        data="\n".join(f"| {name} | {_LICENCES.get(name, 'see the data README')} |" for name in names),
        teacher_head=" teacher |" if fused else "",
        teacher_rule=" --- |" if fused else "",
        held_out="\n".join(rows),
    )
