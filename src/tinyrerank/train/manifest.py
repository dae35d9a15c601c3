"""Manifests: what a result was made from, by which code, on which machine."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tinyrerank.train.recipe import Recipe

_LIBRARIES = ("torch", "transformers", "tokenizers", "numpy", "safetensors", "tinyrerank")


def recipe_parts(recipe: Recipe, parts: tuple[str, ...]) -> dict[str, Any]:
    """The named parts of a recipe; ``rank.0`` is the first entry of its list ``rank``."""
    whole = asdict(recipe)
    found = {}
    for part in parts:
        key, _, number = part.partition(".")
        found[part] = whole[key][int(number)] if number else whole[key]
    return found


def part_key(recipe: Recipe, parts: tuple[str, ...]) -> str:
    """A digest of the named parts: results of recipes that agree in them may be used again."""
    return hashlib.sha256(json.dumps(recipe_parts(recipe, parts), sort_keys=True).encode()).hexdigest()[:16]


def stage_manifest(
    name: str,
    recipe: Recipe,
    parts: tuple[str, ...],
    work: Path,
    made: tuple[str, ...],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """What one stage followed and made.

    Args:
        name: of the stage.
        recipe: of the run.
        parts: keys of the recipe that the stage depends on.
        work: the run's folder.
        made: files below it that the stage wrote.
        facts: what the stage says about itself, seconds among them.
    """
    return {
        "stage": name,
        "key": part_key(recipe, parts),
        "recipe": recipe_parts(recipe, parts),
        "files": {file: sha256(work / file) for file in made},
        **facts,
        **surroundings(),
    }


def surroundings() -> dict[str, Any]:
    """Code revision, libraries and machine, with its first GPU if torch sees one."""
    machine = {"python": platform.python_version(), "system": platform.system(), "cpu": _cpu()}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return {
        "revision": _revision(),
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name))},
        "machine": machine,
    }


def sha256(path: Path) -> str:
    """Of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _revision() -> str:
    """The commit of the code, or ``unknown`` outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whichever git the user has
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )
