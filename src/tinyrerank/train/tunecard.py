"""The card of a fine-tuned model."""

from __future__ import annotations

from typing import Any

_CARD = """\
---
language: en
pipeline_tag: text-ranking
---

# {name}

Fine-tuned from {start} with `tinyrerank {command}`, on {train} queries ({lists} lists of candidates, {steps}
steps, {seconds:.0f} seconds). Settings, hashes, library versions and machine are in `manifest.json` beside
this card.

| NDCG@10 | before | after |
| --- | --: | --: |
| {report} held-out queries{kind} | {r[before]:.4f} | {r[after]:.4f} |
| {choose} held-out queries that chose the weights | {c[before]:.4f} | {c[after]:.4f} |
| everyday questions | {e[before]:.4f} | {e[after]:.4f} |

The difference on the first row is {r[difference]:+.4f} (p = {r[p]:.4f}, paired randomization test). The
weights lie {share:.0%} of the way from the start to the best ones found; where that is not all of it, the
rest would have cost too much on everyday questions. All figures were measured with the int8 model of this
folder.
"""


def tune_card(name: str, manifest: dict[str, Any], *, labelled: bool) -> str:
    """The card in Markdown.

    Args:
        name: of the model folder.
        manifest: what is written beside it.
        labelled: whether the examples had labels (finetune), or teachers alone judged (adapt).
    """
    report = manifest["report"]
    return _CARD.format(
        name=name,
        start=manifest["start"]["folder"],
        command="finetune" if labelled else "adapt",
        **report["queries"],
        **{k: report[k] for k in ("lists", "steps", "seconds")},
        kind="" if labelled else " (the gain is the teachers' own opinion)",
        r=report["reported"],
        c=report["choosing"],
        e=report["everyday"],
        share=report["share_of_the_way"],
    )
