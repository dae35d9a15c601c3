"""Works of reference with a form of their own: World Factbook, WikiPathways, Python Enhancement Proposals."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator

from articles import COVID
from markup import TAG
from passages import Rows, close_gaps, fit, fitting, passages, without_links
from repository import Repository


def _fields(node: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of every field of a country."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "text" and isinstance(value, str):
                yield name, value
            else:
                yield from _fields(value, name if key == "note" else key)


def _country(names: dict[str, dict[str, str]]) -> str:
    for form in ("conventional short form", "conventional long form"):
        name = html.unescape(names.get(form, {}).get("text", ""))
        if name and name != "none":
            return re.sub(r"\s*[;(<].*", "", name)
    return ""


@without_links
def factbook(repository: Repository) -> Rows:
    """Fields of The World Factbook that hold sentences."""
    for _, text in repository.texts(repository.paths(r"^[a-z-]+/[a-z]{2}\.json$")):
        data = json.loads(text)
        country = _country(data.get("Government", {}).get("Country name", {}))
        if country in ("", "none"):
            continue
        for field, content in _fields(data):
            lines = re.split(r"<br\s*/?>|</p>", content)
            for p in fitting([close_gaps(html.unescape(TAG.sub("", line))) for line in lines]):
                if p.count(";") < 3 and p[0].isupper() and p[-1] in ".)" and ". " in p:
                    yield f"{country}: {field}", p


_PATHWAY = re.compile(r'<Pathway [^>]*?Name="([^"]*)"')
_DESCRIPTION = re.compile(r'<Comment Source="WikiPathways-description">(.*?)</Comment>', re.DOTALL)
_LINK = re.compile(r"\[https?://\S+\s+([^\]]*)\]|\[([^\]]*)\]\(https?[^)]*\)")
_NO_DESCRIPTION = re.compile(
    r"(Sources?:|References?|Proteins on this pathway|This pathway was inferred|\[?\d+\]|Linked with)"
)


def _pathway_paragraphs(description: str) -> list[str]:
    text = _LINK.sub(lambda link: link[1] or link[2] or "", description)
    text = re.sub(r"\[\[(?:[^\]|]*\|)?([^\]]*)\]\]", r"\1", text)
    text = re.sub(r"'{2,}|\*+|__|<[^>]*>", "", text)
    lines = [close_gaps(re.sub(r"\(?https?://\S+", "", line)) for line in text.split("\n")]
    return [line for line in lines if len(line.split()) >= 8 and not _NO_DESCRIPTION.match(line)]


@without_links
def wikipathways(repository: Repository) -> Rows:
    """Descriptions of biological pathways; the first pathway of those with the same description counts."""
    known: set[str] = set()
    for _, text in repository.texts(repository.paths(r"^pathways/WP\d+/WP\d+\.gpml$")):
        name, note = _PATHWAY.search(text[:20000]), _DESCRIPTION.search(text[:20000])
        if not name or not note or COVID.search(name[1]):
            continue
        description = html.unescape(html.unescape(note[1]))
        if COVID.search(description):
            continue
        for passage in passages(_pathway_paragraphs(description)):
            p = re.sub(r"\s*Proteins on this pathway have.*", "", passage)
            if p not in known and fit(p):
                known.add(p)
                yield close_gaps(html.unescape(name[1])), p


_PEP_HEADING = re.compile(r"(?:[=\-~^#*]{3,}\n)?([^\n]{3,80})\n([=\-~^#*\"'+]{3,})\s*$")
_PEP_SKIPPED = re.compile(r"copyright|reference|footnote|acknowledg", re.IGNORECASE)
#: What is done to reStructuredText, in this order.
_RST = [
    (re.compile(r":(?:\w+:)*\w+:`~?!?([^`<]*?)(?:\s*<[^`>]*>)?`"), r"\1"),
    (re.compile(r"`([^`<]*?)\s*<[^`>]*>`__?"), r"\1"),
    (re.compile(r"\s*\[[#\w-]+\]_"), ""),
    (re.compile(r"`+([^`]*)`+_{0,2}"), r"\1"),
    (re.compile(r"\*{1,2}([^*]+)\*{1,2}"), r"\1"),
]


def _pep_sections(text: str, title: str) -> Iterator[tuple[str, list[str]]]:
    head = title
    paragraphs: list[str] = []
    for block in re.split(r"\n\s*\n", text)[1:]:
        heading = _PEP_HEADING.match(block)
        if heading:
            yield head, paragraphs
            head, paragraphs = close_gaps(heading[1].replace("`", "")), []
        elif not re.match(r"\s|[-*.|+=:]|\d+\.|#", block):
            plain = block
            for pattern, instead in _RST:
                plain = pattern.sub(instead, plain)
            plain = close_gaps(plain)
            if (
                len(plain.split()) >= 15
                and plain[-1] in ".?!)"
                and not re.search(r"::|[{}|\\]|https?:", plain)
            ):
                paragraphs.append(plain)
    yield head, paragraphs


@without_links
def peps(repository: Repository) -> Rows:
    """Sections of the proposals that are in the public domain (or CC0) by their own statement."""
    for _, text in repository.texts(repository.paths(r"^peps/pep-\d+\.rst$")):
        if not re.search(r"placed in the\s+public\s+domain|CC0", text):
            continue
        found = re.search(r"^Title:\s*(.*)$", text, re.MULTILINE)
        title = found[1] if found else ""
        for head, paragraphs in _pep_sections(text, title):
            if not _PEP_SKIPPED.search(head):
                for p in fitting(paragraphs):
                    yield f"{title}: {head}" if title and head != title else head, p
