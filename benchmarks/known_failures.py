"""Fills the known failures of docs/quality.md: pairs of documents whose first should be above the second.

    python benchmarks/known_failures.py

The cases are written by hand to probe what small cross-encoders do badly; those that the model passes stay in
the table, so that it shows how often it fails and not that it always does.
"""

from __future__ import annotations

from dataclasses import dataclass

from page import DOCS, fill

from tinyrerank import Reranker


@dataclass(frozen=True, slots=True)
class Case:
    """A query, a document that answers it, and one that does not."""

    kind: str
    query: str
    right: str
    wrong: str


CASES = (
    Case(
        "negation",
        "Which birds cannot fly?",
        "Ostriches, emus and penguins are unable to leave the ground.",
        "Swallows, swifts and albatrosses are birds that can fly for days.",
    ),
    Case(
        "negation",
        "foods without gluten",
        "Rice, maize and potatoes are safe for people with coeliac disease.",
        "Wheat bread, rye and barley are foods with gluten.",
    ),
    Case(
        "negation",
        "Is it allowed to swim here when no lifeguard is present?",
        "If the tower is unmanned, entering the water is prohibited.",
        "Swimming is allowed here when a lifeguard is present.",
    ),
    Case(
        "numbers",
        "What happened in 1871?",
        "The German Empire was proclaimed on 18 January 1871.",
        "In 1817 the first steamboat crossed the lake; that is what happened.",
    ),
    Case(
        "numbers",
        "hotel rooms under 80 euros",
        "A double room costs 65 euros a night, breakfast included.",
        "Hotel rooms from 180 euros, suites from 280 euros.",
    ),
    Case(
        "numbers",
        "bolt of 12 mm length",
        "M6 bolt, length 12 mm, stainless.",
        "M12 bolt, length 60 mm, stainless.",
    ),
    Case(
        "who does what to whom",
        "Who defeated Napoleon at Waterloo?",
        "At Waterloo the armies of Wellington and Blücher beat the French emperor.",
        "Napoleon defeated the Prussians at Ligny two days before Waterloo.",
    ),
    Case(
        "other languages",
        "¿Por qué hay mareas?",
        "Las mareas se deben a la atracción de la Luna sobre los océanos.",
        "Por qué hay huelga: los trabajadores piden un salario mejor.",
    ),
    Case(
        "other languages",
        "Wie lange muss Reis kochen?",
        "Weißer Reis ist nach etwa 15 Minuten gar.",
        "Wie lange muss man auf den Bus warten? Das hängt vom Fahrplan ab.",
    ),
    Case(
        "long queries",
        "I bought a used bicycle last month, mostly to ride to work along the canal, and it was fine until "
        "the weather turned cold. Since then, every morning the lever on the right feels soft and I have to "
        "pull it almost to the handlebar before anything happens. What should I do?",
        "A spongy brake lever means air in the hydraulic line: bleed the brake.",
        "Riding to work along the canal in cold weather: how to dress for a morning by bicycle.",
    ),
)


def main() -> None:
    """Score the cases and fill the page."""
    rows = ["| kind | query | answers it | does not | logits | |", "| --- | --- | --- | --- | --: | --- |"]
    passed = 0
    with Reranker() as reranker:
        for case in CASES:
            right, wrong = reranker.score(case.query, [case.right, case.wrong])
            passed += bool(right > wrong)
            rows.append(
                f"| {case.kind} | {case.query} | {case.right} | {case.wrong} | {right:+.1f} {wrong:+.1f} |"
                f" {'right' if right > wrong else '**wrong**'} |"
            )
    print(*rows, sep="\n")
    text = f"{passed} of {len(CASES)} are ordered rightly.\n\n" + "\n".join(rows)
    fill(DOCS / "quality.md", "failures", text)


if __name__ == "__main__":
    main()
