"""``tinyrerank sagemaker package``: a model as the archive that SageMaker wants, and its deploy script."""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import tarfile
from importlib import resources
from pathlib import Path

from tinyrerank.errors import DataError, ModelError

_DESCRIPTION = """\
Write model.tar.gz and deploy.py into a folder. The image (deploy/Dockerfile) answers GET /ping and
POST /invocations with the model in the archive; docs/deploy.md walks through it."""
_FILES = ("config.json", "tokenizer.json", "model.safetensors")
_TOO = ("README.md", "manifest.json")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``sagemaker``."""
    parser = subparsers.add_parser("sagemaker", help="package a model for Amazon SageMaker")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    package = actions.add_parser(
        "package",
        help="write model.tar.gz and a deploy script",
        description=_DESCRIPTION,
        epilog="example:\n  tinyrerank sagemaker package --out endpoint && python endpoint/deploy.py --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    package.add_argument(
        "--model", help="folder, or owner/name on the hub (default: the model in the package)"
    )
    package.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="made where it is missing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the model, write both files, and say where they are."""
    from tinyrerank import Reranker

    with Reranker(args.model) as reranker:  # a model that cannot rank is better noticed here
        reranker.score("does it rank?", ["it does"])
        folder = reranker.folder
    archive, script = package(folder, args.out)
    print(archive)
    print(script)
    print(f"tinyrerank: next: python {script} --help", file=sys.stderr)
    return 0


def package(folder: Path, out: Path) -> tuple[Path, Path]:
    """Write the archive and the script; the same model gives the same bytes.

    Args:
        folder: of the model.
        out: where both go.

    Raises:
        ModelError: a file of the model is missing.
        DataError: ``out`` is a file.
    """
    missing = [name for name in _FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(f"{folder} lacks {', '.join(missing)}")
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; give a folder")
    out.mkdir(parents=True, exist_ok=True)
    archive, script = out / "model.tar.gz", out / "deploy.py"
    partial = out / "model.tar.gz.partial"
    with (
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in (*_FILES, *(name for name in _TOO if (folder / name).is_file())):
            tar.add((folder / name).resolve(), arcname=name, filter=_anonymous)
    partial.replace(archive)
    source = resources.files("tinyrerank") / "serve" / "sagemaker" / "deploy.py"
    with source.open("rb") as read, script.open("wb") as write:
        shutil.copyfileobj(read, write)
    return archive, script


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without owner and time, and readable by all: the service unpacks as it likes."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry
