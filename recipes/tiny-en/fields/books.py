"""Whole books: Standard Ebooks (XHTML), and a textbook in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markup import untag
from passages import Reader, Rows, close_gaps, fitting, site_rows, without_links
from repository import Repository

_BOOK_TITLE = re.compile(r"<dc:title[^>]*>(.*?)</dc:title>")
_NO_CHAPTER = re.compile(
    r"(colophon|imprint|titlepage|uncopyright|endnotes|halftitle|loi|dedication|epigraph|toc)"
)
_NO_PROSE = re.compile(
    r"<a [^>]*noteref[^>]*>.*?</a>|<head>.*?</head>|<table.*?</table>|<blockquote[^>]*verse.*?</blockquote>",
    re.DOTALL,
)
_CHAPTER_TITLE = re.compile(
    r"<(?:h[1-4]|p)[^>]*epub:type=\"[^\"]*(?:title|subtitle)[^\"]*\"[^>]*>(.*?)</(?:h[1-4]|p)>", re.DOTALL
)
_HEADER = re.compile(r"<(header|hgroup)\b.*?</\1>", re.DOTALL)
_INLINE_TAG = re.compile(r"</?(?:i|b|em|strong|span|abbr|a|cite)\b[^>]*>")
_PARAGRAPH = re.compile(r"<p\b[^>]*>(.*?)</p>", re.DOTALL)


def ebook(repository: Repository) -> Rows:
    """The paragraphs of every chapter of a Standard Ebooks production, under its title."""
    title = _BOOK_TITLE.search(repository.read("src/epub/content.opf").decode("utf-8", "replace"))
    book = untag(title[1]) if title else ""
    paths = [p for p in repository.paths(r"^src/epub/text/.*\.xhtml$") if not _NO_CHAPTER.search(p)]
    for _, chapter in repository.texts(paths):
        text = _NO_PROSE.sub("", chapter)
        heads = [
            h for h in map(untag, _CHAPTER_TITLE.findall(text)) if not re.fullmatch(r"[IVXLCDM.\s]*|\d+", h)
        ]
        text = _HEADER.sub("", text)
        paragraphs = [untag(_INLINE_TAG.sub("", p)) for p in _PARAGRAPH.findall(text)]
        yield from site_rows(f"{book}: {heads[0]}" if heads else book, paragraphs)


_ENVIRONMENT = re.compile(r"\\begin\{(\w+\*?)\}((?!\\begin\{).)*?\\end\{\1\}", re.DOTALL)
_SECTION = re.compile(r"\s*\\(?:chapter|(?:sub)*section)\*?\{([^{}]*)\}(.*)", re.DOTALL)
_BLOCK_END = re.compile(r"\n\s*\n|(?=\\(?:chapter|(?:sub)*section)\b)")
#: What is done to LaTeX, in this order.
_LATEX = [
    (re.compile(r"\\label\{[^{}]*\}|\\index\{[^{}]*\}|\\cite\{[^{}]*\}"), ""),
    (
        re.compile(
            r"(?:Figure|Fig\.|Chapter|Section|Equation|Table|Example)[~ ]*\\(?:eq)?ref\{[^{}]*\}",
        ),
        "the figure",
    ),
    (re.compile(r"\\(?:textit|textbf|emph|text|underline|textsc)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\$([A-Za-z0-9.=+<> ]{1,12})\$"), r"\1"),
    (re.compile(r"``|''"), '"'),
    (re.compile(r"~"), " "),
    (re.compile(r"\\([%&])"), r"\1"),
    (re.compile(r"---"), "\u2014"),
    (re.compile(r"--"), "\u2013"),
]


def latex_sections(text: str) -> Iterator[tuple[str, list[str]]]:
    """Heading and paragraphs of each section; environments and paragraphs with formulae are left out."""
    text = re.sub(r"(?<!\\)%.*", "", text)
    for _ in range(3):  # environments in environments
        text = _ENVIRONMENT.sub("\n\n", text)
    head = ""
    paragraphs: list[str] = []
    for block in _BLOCK_END.split(text):
        section = _SECTION.match(block)
        if section:
            yield head, paragraphs
            head, paragraphs = close_gaps(section[1]), []
        plain = section[2] if section else block
        for pattern, instead in _LATEX:
            plain = pattern.sub(instead, plain)
        plain = close_gaps(plain)
        if len(plain.split()) >= 15 and plain[-1] in ".?!)" and not re.search(r"[\\$&{}]", plain):
            paragraphs.append(plain)
    yield head, paragraphs


def latex_book(pattern: str) -> Reader:
    """A reader of the LaTeX files whose path has the pattern."""

    @without_links
    def rows(repository: Repository) -> Rows:
        for _, chapter in repository.texts(repository.paths(pattern)):
            for head, paragraphs in latex_sections(chapter):
                if head:
                    for text in fitting(paragraphs):
                        yield head, text

    return rows
