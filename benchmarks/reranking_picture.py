"""Draws docs/images/reranking.svg from the sample corpus and the weights in the package (extra: eval).

    python benchmarks/reranking_picture.py

Run it after the weights have changed. It fails where the answer does not come first: the picture and the
words around it (docs/index.md, docs/concepts.md) then need another question.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from tinyrerank import Reranker
from tinyrerank.evaluate.beir import BeirDocument
from tinyrerank.evaluate.first_stage import bm25_run

ROOT = Path(__file__).resolve().parents[1]
QUESTION, ANSWER = "how long does it take for savings to double?", "Compound interest"
SHOWN = 7
LEFT, RIGHT, TOP, STEP = 16, 464, 70, 42
STYLE = """\
.back{fill:#fff}.box{fill:#eef1f4;stroke:#b6bec6}.hit{fill:#d8efdd;stroke:#1b7a3d}.t{fill:#1d2125}\
.s{fill:#555e66}.l{stroke:#9aa4ad;fill:none;stroke-width:1.5}.w{stroke:#1b7a3d;stroke-width:3.5}\
.b{font-weight:600}
@media (prefers-color-scheme:dark){.back{fill:#1b1f24}.box{fill:#2a3037;stroke:#545d66}\
.hit{fill:#1f4029;stroke:#58c27d}.t{fill:#eceff1}.s{fill:#b3bcc4}.l{stroke:#76818b}.w{stroke:#58c27d}}"""


def rankings() -> tuple[list[str], list[str]]:
    """Headings of the candidates, as BM25 lists them and as we order them."""
    documents: dict[str, BeirDocument] = {}
    for path in sorted((ROOT / "examples" / "corpus").glob("*.md")):
        for section in path.read_text(encoding="utf-8").split("\n## ")[1:]:
            heading, _, text = section.partition("\n")
            documents[heading.strip()] = {"title": heading.strip(), "text": " ".join(text.split())}
    listed = bm25_run(documents, {"q": QUESTION}, SHOWN)["q"]
    with Reranker() as reranker:
        ranking = reranker.rank(QUESTION, [documents[heading] for heading in listed])
    return listed, [listed[hit.index] for hit in ranking]


def draw(before: list[str], after: list[str]) -> str:
    """The picture: two columns, and a line from each candidate to its new place."""
    was, now = before.index(ANSWER) + 1, after.index(ANSWER) + 1
    first = before[0]
    lines, boxes = [], []
    for i, heading in enumerate(before):
        y, end = (TOP + 17 + STEP * at for at in (i, after.index(heading)))
        mark = "l w" if heading == ANSWER else "l"
        lines.append(f'<path class="{mark}" d="M256 {y} C 340 {y}, 380 {end}, 464 {end}"/>')
    for x, headings in ((LEFT, before), (RIGHT, after)):
        for i, heading in enumerate(headings):
            y, kind, weight = TOP + STEP * i, "box", "t"
            if heading == ANSWER:
                kind, weight = "hit", "t b"
            boxes.append(
                f'<rect class="{kind}" x="{x}" y="{y}" width="240" height="34" rx="5"/>'
                f'<text class="s" x="{x + 12}" y="{y + 22}">{i + 1}</text>'
                f'<text class="{weight}" x="{x + 36}" y="{y + 22}">{escape(heading)}</text>'
            )
    height = TOP + STEP * SHOWN + 8
    described = (
        f'Seven candidates of BM25 for the question "{QUESTION}". The passage that answers it, {ANSWER},'
        f" is at place {was} on the left and at place {now} on the right, after reranking. {first} goes from"
        f" place 1 to place {after.index(first) + 1}."
    )
    root = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" role="img"'
        ' aria-labelledby="t d" font-family="system-ui, \'DejaVu Sans\', sans-serif" font-size="15">'
    )
    asked = f"\N{LEFT DOUBLE QUOTATION MARK}{QUESTION}\N{RIGHT DOUBLE QUOTATION MARK}"
    return "\n".join(
        [
            root,
            '<title id="t">What a reranker does to a ranking</title>',
            f'<desc id="d">{escape(described, quote=False)}</desc>',
            f"<style>\n{STYLE}\n</style>",
            f'<rect class="back" width="720" height="{height}" rx="8"/>',
            f'<text class="t b" x="360" y="28" text-anchor="middle">{asked}</text>',
            '<text class="s" x="136" y="58" text-anchor="middle">candidates, as BM25 lists them</text>',
            '<text class="s" x="584" y="58" text-anchor="middle">after reranking</text>',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def main() -> int:
    """Draw; 1 where the answer does not come first."""
    before, after = rankings()
    (ROOT / "docs" / "images" / "reranking.svg").write_text(draw(before, after), encoding="utf-8")
    print(f"{ANSWER}: place {before.index(ANSWER) + 1} by BM25, {after.index(ANSWER) + 1} reranked")
    return int(after[0] != ANSWER)


if __name__ == "__main__":
    raise SystemExit(main())
