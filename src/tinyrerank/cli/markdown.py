"""Splits Markdown into passages of readable size, each with its line and heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Neighbouring paragraphs of a section are joined up to this many characters.
PASSAGE_CHARS = 1000
#: A paragraph of more characters than this is cut between sentences.
PARAGRAPH_CHARS = 1500

_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*?))??(?:[ \t]+#+)?[ \t]*$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_BREAK = re.compile(r" {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n")


@dataclass(slots=True)
class Section:
    """A heading and what stands under it.

    Attributes:
        heading: its words, None before the first heading.
        level: 1..6, 0 before the first heading.
        line: line of the heading, from 1.
        blocks: ``(line, text)`` of every paragraph, list or code block, in order.
    """

    heading: str | None
    level: int
    line: int
    blocks: list[tuple[int, str]] = field(default_factory=list)


def split_markdown(text: str) -> Iterator[tuple[int, str | None, str]]:
    r"""Passages of a Markdown text as ``(line, heading, text)``, lines from 1, in order.

    Paragraphs of one section are joined while they fit in ``PASSAGE_CHARS``; longer paragraphs than
    ``PARAGRAPH_CHARS`` are cut between sentences, code blocks never. A heading with nothing under it, not
    even a lower heading, is a passage of its own. Front matter is left out.

    Example:
        >>> list(split_markdown("# Tides\n\nThe Moon pulls.\n\n## Springs\n\nSun and Moon align.\n"))
        [(3, 'Tides', 'The Moon pulls.'), (7, 'Springs', 'Sun and Moon align.')]
    """
    sections = list(_sections(text.split("\n")))
    for n, section in enumerate(sections):
        if section.blocks:
            for line, passage in _join(section.blocks):
                yield line, section.heading, passage
        elif section.heading and (n + 1 == len(sections) or sections[n + 1].level <= section.level):
            yield section.line, None, section.heading


def _sections(lines: list[str]) -> Iterator[Section]:
    """Group lines into sections and blocks."""
    section = Section(None, 0, 1)
    block: list[str] = []
    start = 1
    fence: str | None = None

    def close() -> None:
        if any(line.strip() for line in block):
            section.blocks.append((start, "\n".join(block).rstrip()))
        block.clear()

    for number, line in _without_front_matter(lines):
        if fence is not None:
            block.append(line)
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = None
                close()
            continue
        if found := _FENCE.match(line):
            close()
            fence, start = found[1], number
            block.append(line)
        elif heading := _heading(line, number, block):
            close()
            yield section
            section = heading
        elif not line.strip() or _BREAK.match(line):
            close()
        else:
            if not block:
                start = number
            block.append(line.rstrip())
    close()
    yield section


def _heading(line: str, number: int, block: list[str]) -> Section | None:
    """The section that a line opens, if it does; an underline takes its heading out of the open block."""
    if found := _HEADING.match(line):
        return Section((found[2] or "").strip() or None, len(found[1]), number)
    if (
        len(block) == 1
        and (found := _UNDERLINE.match(line))
        and not block[0].startswith(("-", "*", "|", ">"))
    ):
        return Section(block.pop().strip(), 1 if found[1][0] == "=" else 2, number - 1)
    return None


def _without_front_matter(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Numbered lines, less a leading block between two ``---`` lines."""
    skip = 0
    if lines and lines[0].rstrip() == "---":
        skip = next((n for n, line in enumerate(lines[1:], 2) if line.rstrip() in ("---", "...")), 0)
    yield from enumerate(lines[skip:], skip + 1)


def _join(blocks: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Join short neighbours, cut what is too long."""
    pending: list[str] = []
    first = 0
    for line, text in (piece for block in blocks for piece in _cut(*block)):
        if pending and sum(len(p) + 2 for p in pending) + len(text) > PASSAGE_CHARS:
            yield first, "\n\n".join(pending)
            pending = []
        if not pending:
            first = line
        pending.append(text)
    if pending:
        yield first, "\n\n".join(pending)


def _cut(line: int, text: str) -> Iterator[tuple[int, str]]:
    """One block in pieces of at most about ``PASSAGE_CHARS``, cut between sentences or lines."""
    if len(text) <= PARAGRAPH_CHARS or _FENCE.match(text):
        yield line, text
        return
    start = end = next_start = 0
    for found in (*(m.span() for m in _SENTENCE_END.finditer(text)), (len(text), len(text))):
        if found[0] - start > PASSAGE_CHARS and end > start:
            yield line + text.count("\n", 0, start), text[start:end].strip()
            start = next_start
        end, next_start = found
    yield line + text.count("\n", 0, start), text[start:].strip()
