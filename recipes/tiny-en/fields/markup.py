"""What several kinds of marked-up text share: tags, and the front matter of pages."""

from __future__ import annotations

import html
import re

from passages import squeeze

TAG = re.compile(r"<[^>]+>")
_FRONT_MATTER = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*\n", re.DOTALL)
_TITLE = re.compile(r"^(?:title|heading|page_title)\s*[:=]\s*(.+)$", re.MULTILINE)


def untag(text: str) -> str:
    """Text without tags, entities and invisible joiners."""
    return squeeze(html.unescape(TAG.sub(" ", text)).replace("\u2060", "").replace("\u00ad", ""))


def front_matter(page: str) -> tuple[str, str]:
    """The title that the head of a page gives, if any, and the page after it."""
    front = _FRONT_MATTER.match(page)
    if not front:
        return "", page
    title = _TITLE.search(front[1])
    return title[1].strip().strip("\"'") if title else "", page[front.end() :]
