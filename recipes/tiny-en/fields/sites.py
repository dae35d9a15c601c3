"""Markdown of websites and handbooks: templates and HTML in between, much of the prose in list items."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from markup import TAG, front_matter
from passages import Reader, Rows, site_rows, squeeze
from repository import Repository

_BLOCKS = [
    re.compile(
        r"<!--.*?-->|<script.*?</script>|<style.*?</style>|<table.*?</table>|<figure.*?</figure>", re.DOTALL
    ),
    re.compile(r"\{%-?\s*(?:raw|highlight|capture).*?%\}.*?\{%-?\s*end\w+\s*-?%\}", re.DOTALL),
    re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.DOTALL | re.MULTILINE),
]
_INLINE = [
    (re.compile(r"!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])"), ""),
    (re.compile(r"\[\[link\]\]\([^)]*\)(\{:?[^}]*\})?"), "the figure"),
    (re.compile(r"\[([^\]]*)\]\((?:[^()]|\([^)]*\))*\)(\{:?[^}]*\})?"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\[[^\]]*\]"), r"\1"),
    (re.compile(r"\[\^[^\]]*\]|\{:[^}]*\}|\{#[^}]*\}|\{\{.*?\}\}|\{%.*?%\}"), " "),
    (re.compile(r"<(https?://[^>]+)>"), r"\1"),
    (TAG, ""),
]
_EMPHASIS = [
    (re.compile(r"(\*\*|__)(.+?)\1"), r"\2"),
    (re.compile(r"(?<![\w*])[*_](?=\S)(.+?)(?<=\S)[*_](?![\w*])"), r"\1"),
    (re.compile(r"`([^`]*)`"), r"\1"),
    (re.compile("[\u2190-\u21ff\u2300-\u23ff\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]"), ""),
]
_HEADING = re.compile(r"^\s{0,3}(#{1,5})\s*(.+?)\s*#*\s*$")
_GAP = re.compile(r"^\s*([-=*_]{3,}\s*)?$")
_SKIPPED = re.compile(
    r"^\s*([|>+]|:::|\[[^\]]+\]:|\{[%{:<]|!\[|<(?!(p|b|i|a|em|strong|span|li)\b)|\d+\s*\||#\s*$"
    r"|import |export )"
)
_CODE = re.compile(r"^(    |\t)")
_ITEM = re.compile(r"^\s*(?:[-*+\u2022]|\d+[.)])\s+")
_GENERAL = ("introduction", "overview", "summary", "background", "conclusion")


def clean(text: str) -> str:
    """Text without Markdown, templates, tags and pictograms."""
    for pattern, instead in _INLINE:
        text = pattern.sub(instead, text)
    text = html.unescape(text)
    for pattern, instead in _EMPHASIS:
        text = pattern.sub(instead, text)
    return squeeze(text.replace("\\", ""))


class _Section:
    """The paragraphs below one heading, gathered line by line; an item of a list is a paragraph."""

    def __init__(self, heading: str, *, lists: bool) -> None:
        self.heading, self.lists = heading, lists
        self.paragraphs: list[str] = []
        self._held: list[str] = []
        self._item = False

    def close(self) -> None:
        """End the paragraph; one without a full stop is none, nor is a short item."""
        text = clean(" ".join(self._held))
        wanted = not self._item or (self.lists and len(text.split()) >= 8)
        if text and wanted and text[-1] in (*".!?)\"'", "\u201d", "\u2019"):
            self.paragraphs.append(text)
        self._held, self._item = [], False

    def add(self, line: str) -> None:
        """Take a line that is no heading."""
        if _GAP.match(line) or _SKIPPED.match(line):
            self.close()
        elif _CODE.match(line) and not self._held:
            pass
        elif _ITEM.match(line):
            self.close()
            self._item = True
            self._held.append(_ITEM.sub("", line))
        else:
            self._held.append(line)


def sections(text: str, *, lists: bool) -> Iterator[tuple[str, list[str]]]:
    """Heading and paragraphs of each section of a page."""
    for pattern in _BLOCKS:
        text = pattern.sub("", text)
    text = re.sub(r"</(p|li|h\d|div)>", "\n\n", text)
    section = _Section("", lists=lists)
    for line in [*text.split("\n"), "# end"]:
        heading = _HEADING.match(line)
        if not heading:
            section.add(line)
            continue
        section.close()
        if section.paragraphs:
            yield section.heading, section.paragraphs
        section = _Section(clean(heading[2]), lists=lists)


def site(pattern: str, but: str = r"$^", *, lists: bool = True) -> Reader:
    """A reader of the pages whose path has one pattern, but not the other."""

    def rows(repository: Repository) -> Rows:
        paths = [path for path in repository.paths(pattern) if not re.search(but, path)]
        for _, page in repository.texts(paths):
            title, text = front_matter(page)
            if re.search(r"change ?log|release notes", title, re.IGNORECASE):
                continue
            for heading, paragraphs in sections(text, lists=lists):
                head = "" if heading.lower() in _GENERAL else heading
                both = title and head and head != title
                yield from site_rows(f"{clean(title)}: {head}" if both else clean(title) or head, paragraphs)

    return rows
