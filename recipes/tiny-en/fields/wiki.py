"""Wikipedia of August 2019, rendered as Markdown: pages by topic, and pages on culture."""

from __future__ import annotations

import random
import re
from functools import cache

from articles import COVID
from passages import SEED, Reader, Rows, close_gaps, fitting, site_rows, squeeze, without_links
from repository import Repository
from sites import clean

_TOPICS = {
    "medicine": (
        r"medic|disease|disorder|drug|pharma|anatom|physiolog|health|surgery|surgical|syndrome|biochem|enzyme"
        r"|protein|genetic|cell biology|immun|microbio|bacteri|virus|neuro|cancer|oncolog|nutrition|symptom"
        r"|vitamin|hormone|psychiat|toxic|infect|patholog|molecular|metabol|receptor|genes?\b|genom"
    ),
    "engineering": (
        r"engineer|physics|electr|mechanic|aircraft|aerodynam|aerospace|spacecraft|thermo|optic|laser|radio"
        r"|antenna|semiconductor|nuclear|material|alloy|metallurg|chemical|chemistry|engine|turbine|bridges"
        r"|construction|energy|power|astronom|telescop|quantum|fluid|measur|vehicle|manufactur|geolog"
        r"|meteorolog|plastic|steel|sensor|acoust|instruments"
    ),
    "computing": (
        r"comput|software|algorithm|programming|internet|data|information|librar|archiv|crypto|network"
        r"|operating system|web|file format|database|statistic|mathemat|logic|knowledge|publishing|encod"
        r"|artificial|machine learning|protocol|linguistic|encycloped|metadata|digital"
    ),
}
_DULL = re.compile(
    r"\b(births|deaths|albums|songs|singles|films|players|footballers|seasons|episodes|stations|villages"
    r"|municipalities|townships|alumni|politicians|actors|novels|video games|establishments|elections"
    r"|squads|championships|populated places)\b",
    re.IGNORECASE,
)
_LIST_PAGE = re.compile(r"Page/(List|Lists|Index|Outline|Timeline|Deaths)_")
_CATEGORY = re.compile(r"Category:([^:]*?)(?= Category:|$)", re.MULTILINE)
_END = re.compile(
    r"(see also|references|notes|external links|further reading|bibliography|sources|discography"
    r"|filmography|footnotes|citations|gallery|works|publications|awards|notes and references)$",
    re.IGNORECASE,
)
_NOT_PROSE = re.compile(r"\s{2,}|[-|!{}:*>]|\[\d+\]")
_LEFT_OVER = re.compile(r"[|{}\\]|\]\]|\[\[|https?:|__")
_WORD_MISSING = re.compile(r"\b(?:of|to|at|from|than|about|is|was|and|the)[.,;](?: |$)|\( ?\)")

_CULTURE = re.compile(
    r"\b(histor|century|war\b|empire|kingdom|religio|church|philosoph|parliament|politic|policy|rights|law\b"
    r"|court|econom|museum|paint|architect|music|novel|poet|literature|theat|festival|cuisine|dish|food|city"
    r"|island|village|river|tourism|sport|education|school|language)",
    re.IGNORECASE,
)
_APPENDIX = re.compile(
    r"^(see also|references|external links|notes|bibliography|further reading|sources|gallery|footnotes)\b",
    re.IGNORECASE,
)
_WIKI_LINK = re.compile(r"\[\[(?:[^\]|]*\|)?([^\]]*)\]\]|\[\d+\]")
_SHOUTED_NAME = re.compile(r"^[A-Z][A-Z'\u2019\-., ]{3,}(?=\s+[a-z(])")


def _title(path: str) -> str:
    return path.removeprefix("Page/").removesuffix(".md").replace("_", " ")


def _paragraphs(page: str) -> list[str]:
    """Paragraphs of prose, up to the appendices."""
    paragraphs: list[str] = []
    for block in re.split(r"\n\s*\n", page):
        line = close_gaps(block)
        if _END.match(line):
            break
        if _NOT_PROSE.match(block) or _LEFT_OVER.search(line):
            continue
        line = re.sub(r"(?<!\w)_([^_]+)_(?!\w)", r"\1", re.sub(r"\[\d+\]", "", line))
        line = close_gaps(re.sub(r"\(\s*[;,:]+\s*", "(", re.sub(r"(\*\*)(.+?)\1", r"\2", line)))
        if len(line.split()) >= 15 and line[-1] in (*'.!?")', "\u201d"):
            paragraphs.append(line)
    return paragraphs


def _topic(categories: str) -> str:
    for topic, words in _TOPICS.items():
        if re.search(rf"\b(?:{words})", categories, re.IGNORECASE) and not _DULL.search(categories):
            return topic
    return "general"


@cache
def _pages(repository: Repository) -> list[tuple[str, str, list[str]]]:
    """Topic, title and passages of the pages worth reading: the first passage, and up to four drawn."""
    pages = []
    for path, page in repository.texts(repository.paths(r"^Page/[^/]+\.md$")):
        if len(page) < 1500 or _LIST_PAGE.match(path):
            continue
        categories = " ".join(_CATEGORY.findall(page))
        if not categories or COVID.search(categories):
            continue
        title = _title(path)
        name = re.sub(r"\s*\(.*", "", title)
        paragraphs = _paragraphs(page)
        if len(name) > 3:
            paragraphs = [p.replace(name.upper(), name) for p in paragraphs]
        found = list(fitting([p for p in paragraphs if not _WORD_MISSING.search(p)][:40]))
        if len(found) > 5:
            found = [found[0], *random.Random(f"{SEED}{path}").sample(found[1:], 4)]
        if found:
            pages.append((_topic(categories), title, found))
    return pages


def wikipedia(topic: str, most: int) -> Reader:
    """A reader of so many passages of each page on a topic."""

    @without_links
    def rows(repository: Repository) -> Rows:
        for about, title, found in _pages(repository):
            if about == topic:
                for text in found[:most]:
                    yield title, text

    return rows


def _culture_paragraphs(page: str) -> list[str]:
    """Paragraphs outside the appendices; a short line is a heading."""
    paragraphs, appendix = [], False
    for block in re.split(r"\n\s*\n", page):
        if _APPENDIX.match(block.strip()):
            appendix = True
        elif "Category:" not in block:
            line = squeeze(_WIKI_LINK.sub(r"\1", block))
            if len(line.split()) < 10:
                appendix = appendix and not line
            elif not (
                appendix or re.match(r"^\s*([-*|]|\d+\.)", block) or "  -" in block or line[-1] not in '.!?"'
            ):
                paragraphs.append(clean(line))
    return paragraphs


def culture(repository: Repository) -> Rows:
    """Three passages of each of some pages on history, law, arts, places and the like."""
    paths = repository.paths(r"^Page/.*\.md$")
    random.Random(SEED).shuffle(paths)
    for path, page in repository.texts(paths[:5000]):
        if len(page) < 1500 or len(_CULTURE.findall(page[:1500])) < 3:
            continue
        rows = list(site_rows(_title(path), _culture_paragraphs(page)))
        for title, text in rows[:3]:
            yield title, _SHOUTED_NAME.sub(lambda name: name[0].title().replace("'S", "'s"), text)
