"""84,000 passages of many fields as ``fields.jsonl.gz``: science, textbooks, law, arguments, documentation.

    python recipes/tiny-en/fields --list
    git clone --bare https://github.com/OWNER/NAME REPOSITORIES/OWNER+NAME.git    # for each
    python recipes/tiny-en/fields REPOSITORIES fields.jsonl.gz --evaluation DATA/eval

Every source is a git repository read at one commit; ``sources.py`` has the table, with the licence of each
text and where it is stated. Passages that come twice are left out, as are those near a document or query of
the evaluation sets (folders with ``corpus.jsonl.gz`` and ``queries.jsonl``). The same commits and sets give
the same file.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from overlap import Evaluation, words
from passages import SEED, squeeze, write
from repository import Repository
from sources import SOURCES, Source


def drawn(source: Source, repository: Repository) -> list[tuple[str, str]]:
    """Title and text of the unlike passages of a source, as many as its cap, in an order by chance."""
    titles: dict[str, str] = {}
    for title, text in source.reader(repository):
        titles.setdefault(squeeze(text), squeeze(title))
    rows = [(title, text) for text, title in titles.items()]
    random.Random(SEED).shuffle(rows)
    return rows[: source.cap]


def merged(repositories: Path, evaluation: Evaluation, sources: Sequence[Source]) -> list[dict[str, str]]:
    """Rows of all sources, in an order by chance; where two hold one passage, the first source keeps it."""
    known: set[str] = set()
    rows: list[dict[str, str]] = []
    for source in sources:
        found = drawn(source, Repository.find(repositories, source.repository, source.commit))
        before = len(rows)
        for title, text in found:
            start = " ".join(words(text))[:200]
            if start not in known and not evaluation.holds(title, text):
                rows.append({"title": title, "text": text, "source": source.name})
            known.add(start)
        print(f"{source.name}: {len(rows) - before:,} of {len(found):,} passages", flush=True)  # noqa: T201 - progress
    random.Random(SEED).shuffle(rows)
    return rows


def chosen(names: Sequence[str] | None) -> list[Source]:
    """The sources of these names, or all."""
    known = {source.name: source for source in SOURCES}
    if unknown := [name for name in names or () if name not in known]:
        raise SystemExit(f"no source {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names or known]


class _List(argparse.Action):
    """Print the table of sources and leave."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:  # noqa: ANN401 - nothing is read
        for line in dict.fromkeys(f"{s.repository}\t{s.commit}\t{s.licence}" for s in SOURCES):
            print(line)  # noqa: T201
        parser.exit()


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repositories", type=Path, help="folder of bare clones named OWNER+NAME.git")
    parser.add_argument("out", type=Path, help="fields.jsonl.gz")
    parser.add_argument("--evaluation", type=Path, required=True, help="folder of evaluation sets")
    parser.add_argument("--list", action=_List, nargs=0, help="print repository, commit and licence of each")
    parser.add_argument("--only", nargs="+", metavar="SOURCE", help="these alone, named as in the rows")
    arguments = parser.parse_args()
    sources = chosen(arguments.only)
    for source in sources:  # that all are there shows before the work
        Repository.find(arguments.repositories, source.repository, source.commit)
    rows = merged(arguments.repositories, Evaluation(arguments.evaluation), sources)
    write(rows, arguments.out)
    print(f"{arguments.out}: {len(rows):,} passages")  # noqa: T201


if __name__ == "__main__":
    main()
