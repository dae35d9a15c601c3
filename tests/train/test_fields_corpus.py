"""The corpus of many fields: clean prose, free licences only, nothing twice or near evaluation text."""

from __future__ import annotations

import gzip
import importlib
import json
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "recipes/tiny-en/fields"
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]


def prose(about: str) -> str:
    return (
        f"The {about} is a thing that people of the {about} town have known for long. It is said that the "
        f"first {about} came from the hills, where the {about} roads of the land end. You may see the "
        f"{about} in the hall by the river, as the {about} was given to us by a man."
    )


@pytest.fixture(scope="module")
def tool() -> Iterator[SimpleNamespace]:
    """What the tool is made of; its modules have bare names, as when the folder runs."""
    before = set(sys.modules)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(FOLDER), *sys.path])
        main = runpy.run_path(str(FOLDER / "__main__.py"))
        stems = [path.stem for path in FOLDER.glob("*.py") if path.stem != "__main__"]
        modules = {stem: importlib.import_module(stem) for stem in stems}
        yield SimpleNamespace(**(modules | main))
    for name in set(modules) - before:
        sys.modules.pop(name, None)


def clone(folder: Path, files: dict[str, str]) -> str:
    """Make a bare clone of o/n that holds the files; the commit."""
    work = folder / "work"
    for path, text in files.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)

    def git(*command: str) -> str:
        whole = [*GIT, "-C", str(work), *command]
        return subprocess.run(whole, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603

    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "files")
    git("clone", "-q", "--bare", ".", str(folder / "clones/o+n.git"))
    return git("rev-parse", "HEAD")


def read(tool: SimpleNamespace, folder: Path, reader: Any, files: dict[str, str]) -> list[Any]:
    commit = clone(folder, files)
    return list(reader(tool.Repository.find(folder / "clones", "o/n", commit)))


def test_markdown_of_a_site_becomes_prose(tool: SimpleNamespace, tmp_path: Path) -> None:
    marked = prose("bell").replace("people", "[people](https://example.org)").replace("hills", "**hills**")
    page = (
        f"---\ntitle: Bells\n---\n\n## Where from\n\n<!-- {prose('bee')} -->\n\n{marked}\n\n"
        f"```\n{prose('code')}\n```\n\n## Lists\n\n- {prose('drum')}\n- short\n\n| {prose('table')} |\n\n"
        f"# Overview\n\n{prose('horn')}\n"
    )
    rows = read(
        tool, tmp_path, tool.sites.site(r"\.md$", r"^no"), {"a.md": page, "no.md": page, "b.txt": page}
    )
    assert rows == [
        ("Bells: Where from", prose("bell")),
        ("Bells: Lists", prose("drum")),
        ("Bells", prose("horn")),
    ]


def test_markdown_of_a_textbook_becomes_prose(tool: SimpleNamespace, tmp_path: Path) -> None:
    page = (
        f"# Bells\n\n{prose('*bell*')}\n\n- {prose('item')}\n\n$$\n{prose('formula')}\n$$\n\n"
        f"## Exercises\n\n{prose('task')}\n"
    )
    rows = read(tool, tmp_path, tool.textbooks.textbook(r"\.md$"), {"a.md": page})
    assert rows == [("Bells", prose("bell"))]


def article(licence: str, about: str) -> str:
    cited = prose(f"{about}s").replace("for long", 'for long [<xref ref-type="bibr">1</xref>]')
    return (
        f"<!DOCTYPE article><article><front><article-title>On the {about}</article-title><permissions>"
        f"https://creativecommons.org/licenses/{licence}/4.0/</permissions><abstract><p>{prose(about)}</p>"
        f"</abstract></front><body><sec><p>{cited}</p></sec></body></article>"
    )


def test_articles_count_by_their_own_licence(tool: SimpleNamespace, tmp_path: Path) -> None:
    stated = [("by", "bell"), ("by-nc", "drum"), ("by-nd", "horn"), ("by", "COVID-19")]
    files = {f"annotations/xml_files/{n}.nxml": article(*facts) for n, facts in enumerate(stated)}
    rows = read(tool, tmp_path, tool.articles.clinical_trials, files)
    assert rows == [("On the bell", prose("bell")), ("On the bell", prose("bells"))]


def test_duplicates_and_what_is_near_evaluation_text_are_left_out(
    tool: SimpleNamespace, tmp_path: Path
) -> None:
    pages = {f"{x}.md": f"# On the {x} of our town\n\n{prose(x)}\n" for x in ("bell", "drum", "horn", "harp")}
    pages["again.md"] = f"# Another\n\n{prose('bell')}\n"
    commit = clone(tmp_path, pages)
    evaluated = tmp_path / "eval/set"
    evaluated.mkdir(parents=True)
    with gzip.open(evaluated / "corpus.jsonl.gz", "wt") as file:  # differs in case, punctuation and ends
        file.write(json.dumps({"text": "so: " + prose("drum").upper().replace(".", " ;")[9:]}) + "\n")
    (evaluated / "queries.jsonl").write_text(json.dumps({"text": "on the harp of our town?"}) + "\n")
    reader = tool.sites.site(r"\.md$")
    sources = [tool.Source(name, "o/n", commit, "CC0", 9, reader) for name in ("first", "second")]
    outs = [tmp_path / "a.gz", tmp_path / "b.gz"]
    for out in outs:
        tool.write(tool.merged(tmp_path / "clones", tool.Evaluation(tmp_path / "eval"), sources), out)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    with gzip.open(outs[0], "rt") as file:
        rows = [json.loads(line) for line in file]
    assert sorted((row["text"], row["source"]) for row in rows) == [
        (prose("bell"), "first"),
        (prose("horn"), "first"),
    ]


def test_abstracts_lose_headings_and_marks_and_gain_capitals(tool: SimpleNamespace, tmp_path: Path) -> None:
    marked = f"BACKGROUND\n{prose('bell').lower()}\n\nRESULTS\nin <dig> towns <cit> .\n"
    files = {"abstract/abstract_1.txt": marked * 2, "abstract/short.txt": marked, "text/a.txt": marked * 2}
    rows = read(tool, tmp_path, tool.bmc.abstracts, files)
    assert rows == [" ".join([prose("bell"), "In towns."] * 2)]


def test_a_clone_that_is_missing_is_named_with_its_command(tool: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"git clone --bare https://github.com/o/n .*o\+n\.git"):
        tool.Repository.find(tmp_path, "o/n", "HEAD")
    clone(tmp_path, {"a": "b"})
    with pytest.raises(SystemExit, match="no commit"):
        tool.Repository.find(tmp_path / "clones", "o/n", "0" * 40)


def test_the_table_is_listed_with_licences() -> None:
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(FOLDER), "--list"], check=True, capture_output=True, text=True
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert all(len(commit) == 40 and licence for _, commit, licence in lines)
    assert len({repository for repository, _, _ in lines}) == len(lines) > 50


def test_a_source_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    def asked(*sources: str) -> tuple[int, str]:
        command = [
            sys.executable,
            str(FOLDER),
            str(tmp_path),
            "out.gz",
            "--evaluation",
            str(tmp_path),
            "--only",
        ]
        done = subprocess.run([*command, *sources], check=False, capture_output=True, text=True)  # noqa: S603
        return done.returncode, done.stderr

    code, said = asked("acl-abstracts", "peps", "x")
    assert code == 1
    assert said.startswith("no source x; there are ")
    assert "acl-abstracts" in said
    assert "+acl-anthology.git" in asked("acl-abstracts")[1]  # that source's clone alone is missed
