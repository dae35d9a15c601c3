"""Research articles: JATS files under free licences, and abstracts of the ACL Anthology."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from passages import SEED, Rows, close_gaps, fit, passages, without_links
from repository import Repository

COVID = re.compile(r"covid|sars-?cov-?2|coronavirus", re.IGNORECASE)

_SKIPPED = frozenset((
    "table-wrap", "fig", "disp-formula", "inline-formula", "graphic", "supplementary-material", "table",
    "label", "media", "fn", "list", "def-list", "boxed-text", "tex-math", "math", "disp-formula-group",
    "ref-list",
))  # fmt: skip
_SHOWN_REFERENCES = ("fig", "table", "sec", "supplementary-material")
_EMPTIED_CITATION = re.compile(
    r"\s*[\[(][\s,;\u2013\u2014-]*(?:see also|see|reviewed in|e\.g\.)?[\s,;\u2013\u2014-]*[\])]"
)
_NUMBERED_CITATION = re.compile(r"\s*\[\d+(?:\s*[,\u2013-]\s*\d+)*\]")
_PERMISSIONS = re.compile(
    r"<permissions>.*?</permissions>|<copyright-statement>.*?</copyright-statement>", re.DOTALL
)
_FREE = re.compile(
    r"creativecommons\.org/(?:licenses/by/|publicdomain/zero|licenses/publicdomain)"
    r"|Creative Commons Attribution License|Creative Commons CC0|Creative Commons Public Domain",
    re.IGNORECASE,
)
_NOT_FREE = re.compile(r"by-nc|by-nd|non-?\s?commercial|NoDeriv", re.IGNORECASE)
_NOT_SCIENCE = re.compile(r"\( ?[,;]|authors? contribut|competing interest")
_THANKS = re.compile(
    r"acknowledg|grateful|would like to thank|we thank|funded by|supported by", re.IGNORECASE
)


def is_free(article: str) -> bool:
    """Whether the article's own statement is CC BY or CC0, and nothing narrower."""
    stated = _PERMISSIONS.search(article)
    return bool(stated and _FREE.search(stated[0]) and not _NOT_FREE.search(stated[0]))


def _plain(element: ET.Element) -> str:
    """Running text, without tables, formulae and citations."""
    parts = [element.text or ""]
    for child in element:
        tag = child.tag.rsplit("}", 1)[-1]
        if tag == "xref":
            if child.get("ref-type") in _SHOWN_REFERENCES:
                parts.append("".join(child.itertext()))
        elif tag not in _SKIPPED:
            parts.append(_plain(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _paragraph(element: ET.Element) -> str:
    text = _EMPTIED_CITATION.sub("", close_gaps(_plain(element)))
    return close_gaps(_NUMBERED_CITATION.sub("", text))


def _abstract(root: ET.Element) -> Iterator[str]:
    """The plain abstract, or the first two passages of a long one."""
    for abstract in root.iterfind(".//front//abstract"):
        if not abstract.get("abstract-type"):
            text = close_gaps(" ".join(map(_paragraph, abstract.iter("p"))))
            yield from [text] if len(text.split()) <= 250 else list(passages([text], 80))[:2]
            return


def _body(root: ET.Element) -> list[str]:
    body = root.find(".//body")
    sections = [] if body is None else body.iter("sec")
    return [p for section in sections for p in passages(list(map(_paragraph, section.findall("p"))))]


def jats(article: str, path: str, most: int) -> Rows:
    """So many passages of one article: its abstract, then some of the body, drawn by the path."""
    try:
        root = ET.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", article, count=1))  # noqa: S314 - from a known commit
    except ET.ParseError:
        return
    found = root.find(".//front//article-title")
    title = "" if found is None else close_gaps(_plain(found))
    if not title or COVID.search(title):
        return
    body = _body(root)
    random.Random(f"{SEED}{path}").shuffle(body)
    fits = [*filter(fit, _abstract(root)), *(p for p in body if fit(p) and not _NOT_SCIENCE.search(p))]
    for text in fits[:most]:
        yield title, text


def _free_articles(repository: Repository, pattern: str, most: int) -> Rows:
    for path, article in repository.texts(repository.paths(pattern)):
        if is_free(article):
            yield from jats(article, path, most)


@without_links
def clinical_trials(repository: Repository) -> Rows:
    """Articles on clinical trials."""
    return _free_articles(repository, r"^annotations/xml_files/.*\.nxml$", 3)


@without_links
def plos(repository: Repository) -> Rows:
    """Articles of PLOS journals."""
    return _free_articles(repository, r"^allofplos/starter_corpus/.*\.xml$", 25)


@without_links
def education(repository: Repository) -> Rows:
    """The Journal of Open Source Education, which is free as a whole."""
    for path, article in repository.texts(repository.paths(r"\.jats$")):
        for title, text in jats(article, path, 12):
            if not _THANKS.search(text):
                yield title, text


@without_links
def acl(repository: Repository) -> Rows:
    """Abstracts of volumes of 2016 and later published by the ACL itself."""
    for _, volume in repository.texts(repository.paths(r"^data/xml/[PNEDQSK](?:1[6-9])\.xml$")):
        for paper in ET.fromstring(volume).iter("paper"):  # noqa: S314
            title, abstract = paper.find("title"), paper.find("abstract")
            if title is None or abstract is None:
                continue
            text = re.sub(r"\s*https?://\S+", "", close_gaps("".join(abstract.itertext())))
            if fit(text) and not re.search(r"\\[a-z]+|\$", text):
                yield close_gaps("".join(title.itertext())), text
