"""Where a model comes from: the package, a folder, or the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from tinyrerank.errors import InputError, MissingExtraError, ModelError

#: All that is ever fetched: no code, no pickles.
HUB_FILES = ("config.json", "tokenizer.json", "model.safetensors")
#: Name of the model that the package carries.
DEFAULT_MODEL = "tiny-en"
_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def default_folder() -> Path:
    """The model that the package carries.

    Raises:
        ModelError: this installation has none.
    """
    folder = Path(__file__).resolve().parents[1] / "weights" / DEFAULT_MODEL
    missing = [name for name in HUB_FILES if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"this installation carries no default model ({folder} lacks {', '.join(missing)});"
            " reinstall tinyrerank, or name a model: a folder, or 'owner/name' on the hub"
        )
    return folder


def resolve_model(model: str | Path | None, *, revision: str | None = None) -> Path:
    """The folder of a model.

    Args:
        model: None or "tiny-en" for the model in the package, the path of a folder, or ``owner/name`` on the
            hub. A folder wins over a name that is spelled alike.
        revision: branch, tag or commit of a hub model; a commit pins it.

    Raises:
        ModelError: no such folder, or the download failed.
        MissingExtraError: a hub model without ``huggingface_hub`` installed.
        InputError: a revision for a model that is not on the hub, or a model that is neither str nor path.
    """
    if model is not None and not isinstance(model, str | Path):
        raise InputError(f"model is of type {type(model).__name__}; give a folder, 'owner/name', or None")
    if model == "":
        raise InputError("model is empty; give a folder, 'owner/name', or None for the default")
    is_folder = model is not None and Path(model).is_dir()
    if isinstance(model, str) and not is_folder and _REPO_ID.fullmatch(model):
        return _download(model, revision)
    if revision is not None:
        raise InputError(
            f"revision {revision!r} is for hub models, but the model is {model or 'the default'}"
        )
    if model is None or (model == DEFAULT_MODEL and not is_folder):
        return default_folder()
    if not is_folder:
        raise ModelError(
            f"{model}: no such folder; give a model folder, 'owner/name' on the hub, or {DEFAULT_MODEL!r} for"
            " the model in the package"
        )
    return Path(model)


def _download(repo_id: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(
            f"{repo_id!r} is not a folder here, and fetching it from the hub", "hub"
        ) from None
    try:
        folder = snapshot_download(repo_id=repo_id, revision=revision, allow_patterns=list(HUB_FILES))
    except Exception as error:
        raise ModelError(
            f"{repo_id}: no such folder, and the hub did not give it either ({type(error).__name__});"
            " check the name, the revision and the connection"
        ) from error
    return Path(folder)
