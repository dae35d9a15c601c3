"""Puts measured figures into a page of the documentation, between its ``<!-- NAME -->`` markers."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"


def fill(page: Path, name: str, text: str) -> None:
    """Replace what stands between a name's markers; a page without them ends the script."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not end:
        raise SystemExit(f"{page.name} has no place for {name}")
    page.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
