"""The report's script in a real browser, where there is one: ``pytest -m slow`` with Chromium installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from beir_files import write_set

from tinyrerank.evaluate.compare.cost import Cost
from tinyrerank.evaluate.compare.page import Report, render
from tinyrerank.evaluate.compare.rank import parse_contenders, rank_all
from tinyrerank.evaluate.first_stage import load_task

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--virtual-time-budget=2000", "--dump-dom"),
)
PRESS = """<script>
const pick = (id, value) => { document.getElementById(id).value = value;
  document.getElementById(id).dispatchEvent(new Event("change")); };
document.querySelectorAll("#systems th button")[6].click();
pick("reference", "1"); pick("side-a", "0"); pick("side-b", "2"); pick("which", "won");
</script></body>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> str:
    folder = tmp_path_factory.mktemp("browser")
    task = load_task(write_set(folder / "set"))
    contenders = parse_contenders([f"a={tiny_folder}", f"b={tiny_folder}:fp32", "list"])
    ranked = rank_all([task], contenders, folder / "out", threads=1, quiet=True)
    slow, fast = (Cost(ms, 1e3 / ms, 1.0, None, 1, 3.0, "native", 1, 512) for ms in (50.0, 5.0))
    return render(Report([task], contenders, ranked, {"a": slow, "b": fast}, "a machine"))


def rendered(page: str, folder: Path) -> str:
    """The document after its scripts have run."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - the browser that was found, on a page of our own
        [str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'profile'}", (folder / "page.html").as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_the_policy_lets_the_page_work_and_opens_the_first_query(page: str, tmp_path: Path) -> None:
    dom = rendered(page, tmp_path)
    assert re.search(r'<p id="summary"[^>]*>On set, a beats list on \d', dom)
    assert '<details class="query" open="">' in dom
    assert dom.count('<section aria-label="') == 2
    assert dom.count('class="query"') == 3


def test_columns_sort_and_the_reference_and_the_systems_can_be_chosen(page: str, tmp_path: Path) -> None:
    free = re.sub(r"<meta http-equiv=[^>]*>", "", page)  # lets the presses below run
    dom = rendered(free.replace("</body>", PRESS), tmp_path)
    assert re.findall(r'data-system="(\d)"', dom) == ["1", "0", "2"], "fastest first, not measured last"
    assert dom.count('aria-sort="ascending" data-first') == 1
    row = re.search(r'data-system="1".*?class="difference[^"]*"[^>]*>(.*?)<', dom, re.DOTALL)
    assert row
    assert row[1] == "\N{EN DASH}", "the reference has no difference to itself"
    won = re.search(r"beats list on (\d)", dom)
    assert won
    assert dom.count('class="query"') == int(won[1])
