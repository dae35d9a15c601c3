"""Markdown of textbooks and technical documents: whole paragraphs only; lists, code, formulae left out."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from markup import TAG, front_matter
from passages import Reader, Rows, close_gaps, fitting, without_links
from repository import Repository

_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*(?:\{.*\})?$")
_FIRST_HEADING = re.compile(r"(?:\s|<[^>]*>)*#\s+(.*)")
_GENERAL = re.compile(
    r"(section summary|summary|references?|introduction|overview|footnotes?)$", re.IGNORECASE
)
#: Blocks and what stands for them, in this order; a formula becomes a mark that its paragraph is refused for.
_BLOCKS = [
    (re.compile(r"<math\b.*?</math>", re.DOTALL), r"\\"),
    (re.compile(r"!\[.*?\]\([^\n]*?(?:\n[^\n]+)*?\)\{:[^}]*\}", re.DOTALL), "\n\n"),
    (
        re.compile(
            r"```.*?```|~~~.*?~~~|<!--.*?-->|\$\$.*?\$\$|<(table|pre|script)\b.*?</\1>",
            re.DOTALL,
        ),
        "\n\n",
    ),
    (
        re.compile(
            r'<div data-type="(?:abstract|example|exercise|problem|solution|equation|title)".*?</div>',
            re.DOTALL,
        ),
        "\n\n",
    ),
]
_INLINE = [
    (re.compile(r"\{:[^}]*\}"), ""),
    (re.compile(r"\s*:(?:cite[tp]?|citet|citep):`[^`]*`"), ""),
    (re.compile(r":(?:numref|eqref|ref):`[^`]*`"), "the figure"),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),
    (
        re.compile(
            r"\s*\((?:see |as shown in |as in )?\[\\\[link\\\]\]\([^)]*\)(?:\[?[a-z]\]?)?\)",
        ),
        "",
    ),
    (re.compile(r"\[\\\[link\\\]\]\([^)]*\)"), "the figure"),
    (re.compile(r"\(?\[\*+|\*+\]\)?|\(~~|~~\)|~~|\[~|~\]"), ""),
    (re.compile(r"\[((?:\\.|[^\]\\])*)\](?:\([^)]*\)|\[[^\]]*\])"), r"\1"),
    (TAG, ""),
    (re.compile(r"(\*\*|__)(.+?)\1"), r"\2"),
    (re.compile(r"\*([^*\s](?:[^*]*[^*\s])?)\*"), r"\1"),
    (re.compile(r"(?<!\w)_([^_]+)_(?!\w)"), r"\1"),
    (re.compile(r"`([^`]*)`"), r"\1"),
    (re.compile(r"\\([^A-Za-z0-9\s])"), r"\1"),
]
_NOT_A_PARAGRAPH = re.compile(r"\s{4}|\s*([*+|>:]|-\s|\d+[.)]\s)|\t")
#: Marks of formulae and tables, captions, references, and calls to do or visit something.
_UNFIT = re.compile(
    r"[$\\{}|]|data-type|:\w+:`|::|\((?:credit|Photo|Figure|modification)\b|\(a\) .*\(b\)|\"\)$"
    r"|\(\d{4}[a-z]?\)\. .*\(\d{4}|Retrieved from|^[A-Z][\w\u2019'-]+, (?:[A-Z]\.|[A-Z]\w+ [A-Z]\.)"
    r"|Check Your Learning|OpenStax|^Visit "
)
_SKIPPED = (
    r"review question|multiple choice|free response|glossary|art connection|critical thinking|exercise"
    r"|problems|references|self-check|further research|personal application|footnotes|problem"
    r"|conceptual question|to the instructor|about openstax|preface|key (?:terms|equations|concepts)"
    r"|link to learning|practice"
)


def _clean(text: str) -> str:
    for pattern, instead in _INLINE:
        text = pattern.sub(instead, text)
    return close_gaps(html.unescape(text))


def _head(heading: str, title: str) -> str:
    """A heading that says what it is about without its page."""
    head = _clean(heading) or title
    if head.isupper() and len(head) > 5:
        head = head.capitalize()
    if _GENERAL.match(head):
        head = title
    elif title and head != title and len(head.split()) < 3:
        head = f"{title}: {head}"
    return head.strip("[]* ")


def _paragraph(block: str) -> str:
    """The block as a paragraph of prose, or nothing."""
    if _NOT_A_PARAGRAPH.match(block):
        return ""
    text = _clean(block)
    whole = text[-1:] in (*".!?)", "\u201d") and re.match(r"[A-Z0-9\u201c\"'(]", text)
    return text if whole and len(text.split()) >= 15 and not _UNFIT.search(text) else ""


def sections(page: str) -> Iterator[tuple[str, list[str]]]:
    """Heading and paragraphs of each section of a page."""
    title, text = front_matter(page)
    for pattern, instead in _BLOCKS:
        text = pattern.sub(instead, text)
    if not title:
        first = _FIRST_HEADING.match(text)
        title = _clean(first[1]) if first else ""
    head = title
    paragraphs: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        line, _, rest = block.strip().partition("\n")
        heading = _HEADING.match(line)
        if heading:
            if paragraphs:
                yield head, paragraphs
            head, paragraphs = _head(heading[2], title), []
        paragraph = _paragraph((rest if heading else block).strip("\n"))
        if paragraph:
            paragraphs.append(paragraph)
    if paragraphs:
        yield head, paragraphs


def textbook(pattern: str, also_skipped: str = "") -> Reader:
    """A reader of the pages whose path has the pattern, without exercises and lists of references."""
    skipped = re.compile(f"{_SKIPPED}|{also_skipped}" if also_skipped else _SKIPPED, re.IGNORECASE)

    @without_links
    def rows(repository: Repository) -> Rows:
        for _, page in repository.texts(repository.paths(pattern)):
            for head, paragraphs in sections(page):
                if skipped.search(head):
                    continue
                title = re.sub(r"^[\d.]+ ", "", re.sub(r"\$[^$]*\$", "", head))
                for text in fitting(paragraphs):
                    yield "" if title in ("Introduction", "Preface") else title, text

    return rows
