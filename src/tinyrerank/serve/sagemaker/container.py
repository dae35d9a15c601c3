"""Settings of a SageMaker container: what the service says by environment and folders.

=================================  =====================================================================
``/opt/ml/model``                  the model archive, unpacked; empty: the model in the package. That it is
                                   there means a container; so does the setting ``sagemaker``
``SAGEMAKER_BIND_TO_PORT``         port instead of 8080, in pipelines and multi-container endpoints
``SAGEMAKER_BATCH``                ``true`` in batch transform: larger bodies, no deadline
``SAGEMAKER_MAX_PAYLOAD_IN_MB``    largest body of a batch; 0 for no limit
=================================  =====================================================================

A setting that the user made by flag, file or ``TINYRERANK_…`` stays as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinyrerank.errors import InputError
from tinyrerank.serve.settings import Settings

#: Answers must be there within 60 s; the rest is the way back.
REAL_TIME_DEADLINE_MS = 55_000.0
#: The service's own limit of a real-time body is 6 MB; asynchronous endpoints pass up to 1 GB.
BATCH_BYTES = 100 * 2**20


def container_settings(
    settings: Settings,
    environment: Mapping[str, str],
    explicit: Collection[str] = (),
    *,
    root: Path = Path("/opt/ml"),
) -> Settings:
    """The settings of a server that may run in a SageMaker container.

    Args:
        settings: as made.
        environment: variables of the process.
        explicit: names of settings that the user made.
        root: where the service mounts its folders.

    Raises:
        InputError: a variable of the service is no number.
    """
    inside = (root / "model").is_dir()
    if not settings.sagemaker and not inside:
        return settings
    batch = environment.get("SAGEMAKER_BATCH", "").lower() == "true"
    wanted: dict[str, Any] = {
        "sagemaker": True,
        "host": "0.0.0.0",  # noqa: S104 - the service reaches the container through its network alone
        "port": _whole(environment, "SAGEMAKER_BIND_TO_PORT", 8080),
        "deadline_ms": None if batch else REAL_TIME_DEADLINE_MS,
    }
    if batch:
        megabytes = _whole(environment, "SAGEMAKER_MAX_PAYLOAD_IN_MB", 6)
        wanted["max_body_bytes"] = megabytes * 2**20 if megabytes else BATCH_BYTES
    folder = model_folder(root / "model")
    if folder is not None:
        wanted["models"] = (f"model={folder}",)
    if not inside:  # asked for by a setting, outside the service: keep the address that was chosen
        wanted = {name: value for name, value in wanted.items() if name not in {"host", "port"}}
        if "SAGEMAKER_BIND_TO_PORT" in environment:
            wanted["port"] = _whole(environment, "SAGEMAKER_BIND_TO_PORT", 8080)
    return replace(settings, **{name: value for name, value in wanted.items() if name not in explicit})


def model_folder(folder: Path) -> Path | None:
    """The model in an unpacked archive, at its top or one level down; None for an empty or absent folder.

    Raises:
        InputError: there are files, but no model.
    """
    if not folder.is_dir() or not any(folder.iterdir()):
        return None
    if (folder / "config.json").is_file():
        return folder
    inner = [each for each in sorted(folder.iterdir()) if (each / "config.json").is_file()]
    if len(inner) != 1:
        raise InputError(
            f"{folder} has files, but not one model; `tinyrerank sagemaker package` makes a fitting archive"
        )
    return inner[0]


def _whole(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise InputError(f"{name} is {text!r}; give a whole number")
    return int(text)
