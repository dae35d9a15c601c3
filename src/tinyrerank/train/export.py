"""The end of a run: an int8 model folder with its manifest and model card."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tinyrerank.model.hub import resolve_model
from tinyrerank.model.weights import Weights, load_weights
from tinyrerank.train.balance import balanced, calibration_pairs
from tinyrerank.train.card import model_card
from tinyrerank.train.manifest import sha256, surroundings
from tinyrerank.train.recipe import Recipe


def export(recipe: Recipe, data: Path, work: Path, out: Path) -> None:
    """Write the shipped form of a finished run.

    Feed-forward channels are balanced for rounding, except after a finish that saw its own rounding
    (``quantize_share``): those weights have learned to live with the channels as they are.

    Args:
        recipe: the run's recipe.
        data: the data folder that the run read, for the hashes of its files.
        work: the run's folder: float32 weights in the last ``rank-N/``, which becomes a whole model folder,
            and ``log.json`` of all stages.
        out: gets config.json, model.safetensors (int8), tokenizer.json, manifest.json and README.md.
    """
    trained = work / f"rank-{len(recipe.rank)}"
    weights = load_weights(trained)
    config = replace(weights.config, query_window=recipe.query_window, document_window=recipe.document_window)
    weights = replace(weights, config=config)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    finished = recipe.rank[-1].quantize_share > 0
    shipped = weights if finished else balanced(weights, calibration_pairs(tokenizer))
    shipped.to_int8().save(out)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)  # a compact file loads faster
    manifest = make_manifest(recipe, data, work, out, weights)
    manifest["rounding"] = "quantization-aware finish" if finished else "balanced feed-forward channels"
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    weights.save(trained)
    for name in ("tokenizer.json", "manifest.json"):  # the float32 form, too, is a folder to start from
        shutil.copyfile(out / name, trained / name)
    (out / "README.md").write_text(model_card(manifest), encoding="utf-8")


def make_manifest(recipe: Recipe, data: Path, work: Path, out: Path, weights: Weights) -> dict[str, Any]:
    """What a model was made from: recipe, data, code, libraries, machine, time, and what came out."""
    log = json.loads((work / "log.json").read_text())
    teachers = work / "teachers.json"
    names = [*recipe.data.labelled, *recipe.data.corpora, *recipe.data.candidate_lists, *recipe.data.queries]
    made: dict[str, Any] = {
        "name": recipe.name,
        "parameters": sum(int(t.size) for t in weights.tensors.values()),
        "files": {
            name: sha256(out / name) for name in ("config.json", "model.safetensors", "tokenizer.json")
        },
        "recipe": asdict(recipe),
        "data": {name: sha256(data / "train" / f"{name}.jsonl.gz") for name in names}
        | {Path(path).name: sha256(Path(path)) for path in recipe.data.extra},
        "stages": log,
        "teachers": json.loads(teachers.read_text()) if teachers.exists() else {},
        **surroundings(),
    }
    if recipe.start:
        made["start"] = _start(resolve_model(recipe.start))
    return made


def _start(folder: Path) -> dict[str, Any]:
    """What a run went on from: the digest of its weights, and its own manifest if it has one."""
    manifest = folder / "manifest.json"
    found = {"sha256": sha256(folder / "model.safetensors")}
    return found | ({"manifest": json.loads(manifest.read_text())} if manifest.exists() else {})
