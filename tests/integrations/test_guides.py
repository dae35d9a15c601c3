"""The Python on the pages in docs/integrations runs, each page from top to bottom."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tinyrerank.errors import ModelError
from tinyrerank.model.hub import default_folder

PAGES = Path(__file__).parents[2] / "docs" / "integrations"
#: The modules that a page needs; a page that is not named needs none.
NEEDS = {
    "llama-index": ("llama_index",),
    "langchain": ("langchain_core", "langchain_classic"),
    "haystack": ("haystack",),
    "lancedb": ("lancedb",),
    "dspy": ("dspy",),
    "fastembed": ("fastembed",),
    "rerankers": ("rerankers",),
    "redisvl": ("redisvl",),
    "mcp": ("mcp",),
    "vespa": ("onnxruntime",),
}
_PYTHON = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.filterwarnings("default")


def blocks_of(page: str) -> list[str]:
    """The Python of a page that can run here."""
    found = _PYTHON.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))
    return [block for not_run, block in found if not not_run]


def no_model() -> bool:
    try:
        default_folder()
    except ModelError:
        return True
    return False


@pytest.mark.skipif(no_model(), reason="no weights embedded in this checkout")
@pytest.mark.parametrize("page", sorted(path.stem for path in PAGES.glob("*.md") if blocks_of(path.stem)))
def test_the_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDS.get(page, ()):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    blocks = blocks_of(page)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__page__"}
    for block in blocks:
        exec(compile(block, f"{page}.md", "exec"), names)  # noqa: S102 - the page's own code


def test_every_page_stands_in_the_overview() -> None:
    overview = (PAGES / "index.md").read_text(encoding="utf-8")
    assert {path.name for path in PAGES.glob("*.md")} - set(re.findall(r"\]\(([\w-]+\.md)\)", overview)) <= {
        "index.md"
    }
