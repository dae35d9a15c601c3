"""Arguments, articles on what is argued about, and addresses of presidents."""

from __future__ import annotations

import csv
import io
import re
import zipfile

from passages import Reader, Rows, site_rows, squeeze
from repository import Repository


def _table(repository: Repository, path: str) -> csv.DictReader[str]:
    return csv.DictReader(io.StringIO(repository.read(path).decode("utf-8-sig", "replace")))


def arguments(repository: Repository) -> Rows:
    """Arguments of one or two sentences, each under its topic."""
    for path in ("kpm_data/arguments_train", "kpm_data/arguments_dev", "test_data/arguments_test"):
        for row in _table(repository, f"{path}.csv"):
            text = squeeze(row["argument"]).strip("`").strip()
            if len(text.split()) >= 15:
                yield row["topic"], text[:1].upper() + text[1:]


def topic_articles(repository: Repository) -> Rows:
    """Wikipedia articles on topics of debates."""
    folder = "corpora/IBM_EACL"
    titles = {row["clean_fle"]: row["title"] for row in _table(repository, f"{folder}/article_info.csv")}
    for name, title in sorted(titles.items()):
        text = re.sub(r"\[REF[^\]]*\]", "", repository.read(f"{folder}/{name}").decode("utf-8", "replace"))
        whole = [p for p in text.split("\n") if p.strip()[-1:] in '.!?"' and len(p.split()) > 12]
        yield from site_rows(title, whole)


def addresses(collection: str, kind: str) -> Reader:
    """A reader of a collection of addresses: one file each, named year-president."""

    def rows(repository: Repository) -> Rows:
        archive = zipfile.ZipFile(io.BytesIO(repository.read(f"packages/corpora/{collection}.zip")))
        for path in sorted(name for name in archive.namelist() if name.endswith(".txt")):
            text = archive.read(path).decode("utf-8", "replace")
            if text.count("\ufffd") > 3:
                text = archive.read(path).decode("latin-1")
            text = text.replace("\r", "")
            blocks = re.split(r"\n\s*\n", text)
            if len(blocks) < 8:
                blocks = text.split("\n")
            spoken = [b for b in map(squeeze, blocks) if not re.match(r"[A-Z ,.'0-9()]+$|PRESIDENT", b)]
            spoken = [
                re.sub(r"\s*\((Applause|Laughter)[^)]*\)|\[(Applause|Laughter)[^\]]*\]", "", b)
                for b in spoken
            ]
            year, president = re.sub(r".*/|\.txt$", "", path).split("-")[:2]
            yield from site_rows(f"{kind} address of {president}, {year}", spoken)

    return rows
