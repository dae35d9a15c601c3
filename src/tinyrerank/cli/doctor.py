"""``tinyrerank doctor``: what works on this machine, and why the rest does not."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinyrerank import __version__
from tinyrerank.cli.render import to_json
from tinyrerank.errors import ModelError, TinyrerankError

SCHEMA_VERSION = 1
_QUERY = "How do tides work?"
_DOCUMENTS = (
    "Yeast turns sugar into gas, and the gas lifts the dough.",
    "The Moon's gravity pulls on the oceans and raises the water twice a day.",
)
#: CPU features that decide how fast a product of matrices can be: x86 names, then Arm names.
_FEATURES = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16"),
    *("amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        topic: the part it belongs to.
        name: what was looked at.
        ok: whether it is there and works; None for plain facts.
        detail: what was found, or why it does not work and what to do.
    """

    topic: str
    name: str
    ok: bool | None
    detail: str


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``doctor``."""
    parser = subparsers.add_parser(
        "doctor",
        help="say what works on this machine and why the rest does not",
        description="Say what works on this machine and why the rest does not. Exit code 0 if ranking works.",
    )
    parser.set_defaults(run=run)
    parser.add_argument("--model", metavar="FOLDER", help="model folder or hub name (default: the embedded)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the report")


def run(args: argparse.Namespace) -> int:
    """Print the report; the exit code is 0, or that of the error with which ranking failed."""
    checks = [*_machine(), *_packages(), *_engines(), *_weights()]
    code = _ranking(args.model, checks)
    if args.json:
        report = {
            "schema_version": SCHEMA_VERSION,
            "command": "doctor",
            "version": __version__,
            "works": code == 0,
            "checks": [asdict(check) for check in checks],
        }
        print(to_json(report, indent=2))
    else:
        _print(checks)
    return code


def _print(checks: list[Check]) -> None:
    marks = {True: "ok", False: "--", None: "  "}
    topic = None
    for check in checks:
        if check.topic != topic:
            topic = check.topic
            print(f"\n{topic}" if check is not checks[0] else topic)
        print(f"  {marks[check.ok]} {check.name:<22} {check.detail}")


def _machine() -> Iterator[Check]:
    from tinyrerank.engine.threads import usable_cpus

    def fact(name: str, detail: str) -> Check:
        return Check("machine", name, None, detail)

    yield fact("tinyrerank", __version__)
    yield fact("python", f"{platform.python_version()} {platform.python_implementation()}")
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield fact("platform", " ".join((system, *platform.libc_ver())).strip())
    model, features = cpu()
    yield fact("cpu", model or platform.processor() or "unknown")
    yield fact("cpu features", " ".join(features) or "unknown on this system")
    usable, total = usable_cpus(), os.cpu_count() or 1
    limit = (
        " (the others are closed to this process: affinity mask or container quota)" if usable < total else ""
    )
    yield fact("cores", f"{usable} usable of {total}{limit}")


def cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, list[str]]:
    """Name of the CPU and those of its features that matter here; empty where the system has no such file."""
    try:
        text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "", []
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    return name[1].strip() if name else "", [feature for feature in _FEATURES if feature in has]


def _packages() -> Iterator[Check]:
    """Every dependency of this package, the extra that brings it, and the version that is installed."""
    from importlib import metadata  # not light: other commands do without

    try:
        declared = metadata.requires("tinyrerank") or []
    except metadata.PackageNotFoundError:
        yield Check("packages", "tinyrerank", False, "runs from source, not installed: pip install .")
        return
    extras: dict[str, list[str]] = {}
    for requirement in declared:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", requirement)
        if name and name[0] != "tinyrerank" and (extra is None or extra[1] != "dev"):
            extras.setdefault(name[0], []).append(extra[1] if extra else "")
    sizes = Counter(extra for of in extras.values() for extra in of)
    for package, of in extras.items():
        wanted = ", ".join(sorted(set(of) - {""}))
        core = "" in of
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            smallest = min(of, key=lambda extra: (sizes[extra], extra))
            fix = "pip install tinyrerank" if core else f"pip install 'tinyrerank[{smallest}]'"
            yield Check("packages", package, False, f"not installed: {fix}")
        else:
            yield Check("packages", package, True, version + ("" if core else f"  (extra {wanted})"))


def _engines() -> Iterator[Check]:
    from tinyrerank.engine import available_engines

    for status in available_engines():
        yield Check("engines", status.name, status.works, status.detail)


def _weights() -> Iterator[Check]:
    """Whether the embedded model is there and is what its manifest says."""
    from tinyrerank.model.hub import default_folder

    try:
        folder = default_folder()
    except ModelError as error:
        yield Check("weights", "default model", False, str(error))
        return
    yield from check_folder(folder)


def check_folder(folder: Path) -> Iterator[Check]:
    """Compare the files of a model folder with the SHA-256 sums in its ``manifest.json``.

    The manifest's ``files`` maps a file name to its sum, or to an object with the sum under ``sha256``.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files = {name: s["sha256"] if isinstance(s, dict) else s for name, s in manifest["files"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        yield Check(
            "weights", folder.name, False, f"{folder}: manifest.json unreadable ({type(error).__name__})"
        )
        return
    for name, expected in files.items():
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            yield Check("weights", name, False, f"{folder / name}: {error.strerror}; reinstall the package")
            continue
        found = hashlib.sha256(data).hexdigest()
        detail = f"{len(data) / 1e6:.1f} MB, sha256 {found[:12]}…"
        if found == expected:
            yield Check("weights", name, True, f"{detail} as in the manifest")
        else:
            yield Check(
                "weights", name, False, f"{detail}, but {str(expected)[:12]}… in the manifest; reinstall"
            )


def _ranking(model: str | None, checks: list[Check]) -> int:
    """Load the model and rank two documents as ``rank`` does; report on it in ``checks``.

    Returns:
        0 if that worked, else the exit code of the error.
    """
    from tinyrerank import Reranker

    start = time.perf_counter()
    try:
        with Reranker(model) as reranker:
            loaded = time.perf_counter()
            ranking = reranker.rank(_QUERY, _DOCUMENTS)
            scored = time.perf_counter()
            what = f"{reranker.folder.name} on the {reranker.engine.name} engine"
    except TinyrerankError as error:
        checks.append(Check("ranking", "two documents", False, str(error)))
        return error.exit_code
    checks.append(Check("ranking", "load", True, f"{what} in {(loaded - start) * 1000:.0f} ms"))
    scores = ", ".join(f"{hit.score:.3f} for {hit.text[:24]}…" for hit in ranking)
    checks.append(Check("ranking", "two documents", True, f"{(scored - loaded) * 1000:.1f} ms: {scores}"))
    return 0
