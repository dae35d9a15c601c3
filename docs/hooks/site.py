"""What the site does beyond MkDocs: sections that fill themselves, help texts, links out of the folder.

- Pages that ``mkdocs.yml`` does not name are added to the section of their folder or name.
- ``<!-- help: rank -->`` becomes the output of ``tinyrerank rank --help``; ``<!-- help -->`` that of every
  command. ``<!-- include: examples/x.py -->`` becomes that file in a code block.
- A link to a file outside ``docs/`` (``../recipes``) becomes its path in the repository, since the site
  stands alone. The file must exist.
- A block under ``<!-- not run: REASON -->`` says so on the page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
#: Section of pages that the table of contents does not name, by folder or file; "More" for any other.
SECTIONS = {
    "integrations/": "In your stack",
    "server.md": "Server",
    "conformance.md": "Server",
    "deploy.md": "Server",
    "robustness.md": "Server",
    "sagemaker.md": "Server",
    "finetuning.md": "Models",
    "performance.md": "Models",
}
_HELP = re.compile(r"^<!-- help(?:: (\w+))? -->$", re.MULTILINE)
_INCLUDE = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
_NOT_RUN = re.compile(r"^<!-- not run: (.+?) -->$", re.MULTILINE)
_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]*)(?:#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages that the table of contents lacks to their sections."""
    nav: list[Any] = config.nav or []
    named = set(_pages(nav))
    sections = {
        name: entries for entry in nav for name, entries in entry.items() if isinstance(entries, list)
    }
    order = {prefix: place for place, prefix in enumerate(SECTIONS)}
    found = [file.src_uri for file in files.documentation_pages() if file.src_uri not in named]
    for uri in sorted(found, key=lambda uri: (order.get(uri, len(order)), not uri.endswith("index.md"), uri)):
        if uri.startswith("results/"):
            continue
        prefix = next((prefix for prefix in SECTIONS if uri.startswith(prefix)), None)
        name = SECTIONS[prefix] if prefix else "More"
        if name not in sections:
            sections[name] = []
            nav.append({name: sections[name]})
        sections[name].append(uri)
    config.nav = [entry for entry in nav if list(entry.values()) != [[]]]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Fill in help texts and files, and tell of paths and of blocks that are not run."""
    markdown = _HELP.sub(lambda found: help_of(found[1]), markdown)
    markdown = _INCLUDE.sub(lambda found: _source(found[1], page), markdown)
    markdown = _NOT_RUN.sub(r'<p class="not-run"><small>Not run by the tests: \1.</small></p>\n', markdown)
    here = Path(page.file.src_uri).parent

    def to_path(link: re.Match[str]) -> str:
        path = Path(os.path.normpath(Path("docs") / here / link[2]))
        if path.parts[0] == "docs":
            return link[0]
        if not (ROOT / path).exists():
            raise PluginError(f"{page.file.src_uri}: links to {link[2]}, which is not in the repository")
        return f"{link[1]} (`{path.as_posix()}`)" if path.name not in link[1] else f"`{path.as_posix()}`"

    return _OUTSIDE.sub(to_path, markdown)


def help_of(command: str | None) -> str:
    """What ``--help`` prints, at a fixed width, as a code block; all commands when none is named."""
    os.environ["COLUMNS"] = "100"
    from tinyrerank.cli import build_parser

    parser = build_parser()
    commands: dict[str, Any] = next(a.choices for a in parser._actions if a.dest == "command")  # noqa: SLF001
    if command is not None:
        return _block(commands[command].format_help())
    parts = [_block(parser.format_help())]
    parts += [f"## {name}\n\n{_block(each.format_help())}" for name, each in commands.items()]
    return "\n\n".join(parts)


def _block(text: str, language: str = "text") -> str:
    return f"````{language}\n{text.rstrip()}\n````"


def _source(name: str, page: Page) -> str:
    path = ROOT / name
    if not path.is_file():
        raise PluginError(f"{page.file.src_uri}: includes {name}, which is not in the repository")
    return _block(path.read_text(encoding="utf-8"), path.suffix.removeprefix(".").replace("py", "python"))


def _pages(nav: Any) -> list[str]:  # noqa: ANN401 - nested lists, mappings and names
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in _pages(part)]
