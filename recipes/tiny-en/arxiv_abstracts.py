"""38,000 titles and abstracts from arXiv as ``arxiv-abstracts.jsonl.gz``, spread over its fields.

    git clone --bare https://github.com/staeiou/arxiv_archive
    python recipes/tiny-en/arxiv_abstracts.py arxiv_archive.git arxiv-abstracts.jsonl.gz

arXiv gives its metadata, titles and abstracts among it, into the public domain (CC0). The repository is R.
Stuart Geiger's ArXiV Archive (doi 10.5281/zenodo.1463242), read at one commit. Left out are papers on the
coronavirus and the fields that other evaluation collections draw their papers from (``_NOT_TAKEN``), papers
with much mathematics, and those that are not in English. The same commit gives the same file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import html
import io
import json
import lzma
import random
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

_COMMIT = "f043eb1d71da6ed2fb9eac63ab8707359ff606ea"
_SEED, _DRAWN, _ROWS = 20261127, 59_000, 38_000
#: Papers of a category; the named ones are near to what people search scientific text for, or rich in it.
_SHARE = 170
_SHARES = {
    "physics.flu-dyn": 4500, "cs.IR": 4000, "cs.DL": 2500, "eess.SP": 2000, "eess.SY": 900, "eess.AS": 800,
    "eess.IV": 800, "cs.SY": 1500, "cs.DB": 1500, "cs.NI": 900, "cs.CL": 900, "cs.SE": 900, "cs.PL": 900,
    "cs.OS": 400, "cs.DC": 900, "cs.CR": 600, "cs.DS": 700, "cs.CE": 700, "cs.HC": 700, "cs.CY": 700,
    "cs.NA": 800, "cs.AR": 600, "cs.PF": 500, "cs.RO": 800, "cs.MS": 500, "physics.app-ph": 1800,
    "physics.ins-det": 1200, "physics.optics": 1500, "physics.plasm-ph": 1000, "physics.comp-ph": 1000,
    "physics.ao-ph": 800, "physics.space-ph": 800, "physics.geo-ph": 800, "physics.class-ph": 900,
    "physics.chem-ph": 700, "physics.acc-ph": 800, "physics.gen-ph": 400, "physics.atom-ph": 700,
    "physics.med-ph": 800, "physics.soc-ph": 700, "math.NA": 700, "q-bio.QM": 700, "q-bio.NC": 800,
    "q-bio.PE": 800, "q-bio.BM": 700, "per_year/1993": 900, "per_year/1994": 1200,
}  # fmt: skip
_ALIASES = ("stat.TH", "atom-ph", "chem-ph", "math.MP", "math.IT")
_NOT_TAKEN = ("cs.LG", "cs.AI", "cs.CV", "cs.CL", "stat.ML", "cmp-lg")

_DUMP = re.compile(r"processed_data/(\d+)/(?:per_category/(.+)\.tsv\.xz|(per_year/\d+)\.tsv\.zip)$")
#: What is done to LaTeX, in this order.
_LATEX = [
    (
        re.compile(
            r"\\(?:cite[a-z]*|ref|label|footnote|url|href|eqref|vspace|hspace)\*?\s*(\[[^\]]*\])?\{[^{}]*\}"
        ),
        " ",
    ),
    (re.compile(r"\\([`'^\"~=.])\s*\{?\\?([A-Za-z])\}?"), r"\2"),
    (re.compile(r"\\[cuvHtdb]\s*\{([A-Za-z])\}"), r"\1"),
    (
        re.compile(
            r"\\(?:emph|textit|textbf|textsc|texttt|textrm|text|mathrm|mathbf|mathcal|mathbb|mathsf|rm|it|bf|em"
            r"|sl|cal|tt|left|right|mbox|operatorname|boldsymbol|displaystyle)\b\s*"
        ),
        "",
    ),
    (re.compile(r"\\[,;:!> ]"), " "),
    (re.compile(r"\\([%&#_{}$])"), r"\1"),
    (re.compile(r"\\([A-Za-z]+)"), r" \1 "),
]
_COMMON = frozenset(
    [
        "the",
        "of",
        "and",
        "in",
        "to",
        "a",
        "is",
        "we",
        "that",
        "for",
        "with",
        "by",
        "are",
        "on",
        "this",
        "as",
        "which",
        "an",
        "be",
        "from",
    ]
)
_UNFIT = re.compile(
    r"withdrawn|has been removed|this paper has been|this article has been|begin ?tabular|corona ?virus"
    r"|\bSARS\b|\bMERS\b|\b2019-nCoV",
    re.IGNORECASE,
)
_FOREIGN = re.compile(
    r"\b(les|des|une|dans|nous|der|und|que|los|para)\b.*\b(les|des|une|dans|nous|der|und|que|los|para)\b.*"
    r"\b(est|les|des|une|dans|nous|und|wir|que|los|para)\b"
)


def plain(text: str) -> str:
    """Text without LaTeX and entities, white space collapsed."""
    text = html.unescape(text)
    for pattern, instead in _LATEX:
        text = pattern.sub(instead, text)
    text = text.replace("\\", " ").replace("``", '"').replace("''", '"').replace("~", " ")
    text = re.sub(r"\s+([,.;:?!)])", r"\1", re.sub(r"[${}]", "", text))
    return re.sub(r"\s+", " ", text).strip()


def fit(title: str, abstract: str) -> bool:
    """Whether this is an English abstract of 40 to 300 words without much mathematics."""
    words = abstract.split()
    if not 40 <= len(words) <= 300 or not 2 <= len(title.split()) <= 40 or _UNFIT.search(abstract):
        return False
    common = sum(w.lower() in _COMMON for w in words)
    letters = sum(c.isalpha() or c == " " for c in abstract)
    spelled = sum(len(w) > 2 and w.strip('.,;:()"').isalpha() for w in words)
    return not (
        common < 0.18 * len(words)
        or _FOREIGN.search(abstract)
        or letters < 0.88 * len(abstract)
        or spelled < 0.55 * len(words)
    )


class Archive:
    """The bare repository, at one commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dumps: dict[str, dict[str, str]] = {}
        for line in self._git("ls-tree", "-r", "-l", _COMMIT, "processed_data").decode().splitlines():
            facts, path = line.split("\t")
            found = _DUMP.match(path)
            if found and facts.split()[3].isdigit():  # a file that is there, not only listed
                self.dumps.setdefault(found[2] or found[3], {})[found[1]] = path

    def _git(self, *command: str) -> bytes:
        whole = ["git", f"--git-dir={self.folder}", *command]
        done = subprocess.run(whole, capture_output=True, check=False)  # noqa: S603 - what is absent gives nothing
        return done.stdout

    def papers(self, category: str) -> Iterator[dict[str, str]]:
        """Rows of the newest dump of a category."""
        path = self.dumps[category][max(self.dumps[category])]
        packed = io.BytesIO(self._git("cat-file", "blob", f"{_COMMIT}:{path}"))
        if len(packed.getvalue()) < 100:  # git names a file that is kept elsewhere
            return
        if path.endswith(".xz"):
            content = lzma.decompress(packed.getvalue())
        else:
            archive = zipfile.ZipFile(packed)
            content = archive.read(archive.namelist()[0])
        lines = io.StringIO(content.decode("utf-8", errors="replace"), newline="")
        yield from csv.DictReader(lines, delimiter="\t")


def draw(archive: Archive) -> list[tuple[str, str, str]]:
    """Category, title and abstract of ``_DRAWN`` papers, in an order by chance."""
    rng = random.Random(_SEED)
    known: set[str] = set()
    drawn: list[tuple[str, str, str]] = []
    for category in sorted(archive.dumps, key=lambda c: (c not in _SHARES, c)):
        if category in _ALIASES:
            continue
        share, taken = _SHARES.get(category, _SHARE), 0
        rows = [row for row in archive.papers(category) if "id " + row["arxiv_id"] not in known]
        rng.shuffle(rows)
        own = [row for row in rows if row["primary_cat"] == category]
        others = [row for row in rows if row["primary_cat"] != category]
        n_others = share // 5 if len(own) > share else 0
        for row in others[:n_others] + own + others[n_others:]:
            if taken >= share:
                break
            title, abstract = plain(row["title"] or ""), plain(row["abstract"] or "")
            bare = [re.sub(r"\W+", "", text.lower()) for text in (title, abstract)]
            keys = {"id " + row["arxiv_id"], "title " + bare[0], "text " + bare[1][:200]}
            if fit(title, abstract) and known.isdisjoint(keys):
                known |= keys
                drawn.append((row["primary_cat"], title, abstract))
                taken += 1
        print(f"{category}: {taken} papers, {len(drawn):,} in all")  # noqa: T201 - progress
    rng.shuffle(drawn)
    return drawn[:_DRAWN]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("archive", type=Path, help="the bare repository")
    parser.add_argument("out", type=Path, help="arxiv-abstracts.jsonl.gz")
    arguments = parser.parse_args()
    csv.field_size_limit(10**7)
    taken = [paper for paper in draw(Archive(arguments.archive)) if paper[0] not in _NOT_TAKEN][:_ROWS]
    # Neither time nor name of the file stand in it.
    with arguments.out.open("wb") as out, gzip.GzipFile("", "wb", fileobj=out, mtime=0) as file:
        for _, title, text in taken:
            file.write((json.dumps({"title": title, "text": text}, ensure_ascii=False) + "\n").encode())
    print(f"{arguments.out}: {len(taken):,} papers")  # noqa: T201


if __name__ == "__main__":
    main()
