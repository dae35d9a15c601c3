"""15,000 abstracts of BioMed Central papers as ``bmc-abstracts.jsonl.gz``.

    git clone --bare https://github.com/vgupta123/sumpubmed repositories/vgupta123+sumpubmed.git
    python recipes/tiny-en/fields/bmc.py repositories bmc-abstracts.jsonl.gz --evaluation DATA/eval

BioMed Central publishes under CC BY. The repository is SumPubMed (Gupta et al. 2021), read at one commit,
which keeps each abstract in lower case with its sections as headings. Abstracts near the evaluation sets are
left out. The same commit and sets give the same file.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from overlap import Evaluation
from passages import write
from repository import Repository

_NAME, _COMMIT = "vgupta123/sumpubmed", "c190db237ba5b8c01efd247e45d13cf0c8162842"
_SEED, _ROWS = 31, 15_000
_HEADING = re.compile(r"^[A-Z]{4,}$", re.MULTILINE)


def plain(text: str) -> str:
    """An abstract without headings and marks for citations and numbers, each sentence with a capital."""
    text = " ".join(_HEADING.sub(" ", re.sub(r"<(dig|cit)>", " ", text)).split())
    text = re.sub(r"\s+([.,;:)])", r"\1", text)
    return re.sub(r"(^|[.!?]\s+)([a-z])", lambda found: found[1] + found[2].upper(), text)


def abstracts(repository: Repository) -> Iterator[str]:
    """Abstracts of 60 to 320 words, in an order by chance."""
    paths = repository.paths(r"^abstract/.*\.txt$")
    random.Random(_SEED).shuffle(paths)
    for _, text in repository.texts(paths):
        if 60 <= len((found := plain(text)).split()) <= 320:
            yield found


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("repositories", type=Path, help="folder of bare clones named OWNER+NAME.git")
    parser.add_argument("out", type=Path, help="bmc-abstracts.jsonl.gz")
    parser.add_argument("--evaluation", type=Path, required=True, help="folder of evaluation sets")
    arguments = parser.parse_args()
    repository = Repository.find(arguments.repositories, _NAME, _COMMIT)
    evaluation = Evaluation(arguments.evaluation)
    unlike = (text for text in abstracts(repository) if not evaluation.holds("", text))
    rows = [{"title": "", "text": text} for text in islice(unlike, _ROWS)]
    write(rows, arguments.out)
    print(f"{arguments.out}: {len(rows):,} abstracts")  # noqa: T201


if __name__ == "__main__":
    main()
