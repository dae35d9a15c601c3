"""Engines that turn packed token ids into logits, and the choice of the best one on this machine."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from tinyrerank.engine.base import Engine
from tinyrerank.engine.threads import thread_count, usable_cpus
from tinyrerank.errors import EngineError, InputError, MissingExtraError

__all__ = [
    "ENGINES",
    "Engine",
    "EngineStatus",
    "available_engines",
    "load_engine",
    "thread_count",
    "usable_cpus",
]

#: Known engines, the preferred one first.
ENGINES = ("native", "onnx", "torch")
#: The library that an engine stands on, and the extra that brings it.
_LIBRARIES = {"onnx": ("onnxruntime", "onnx"), "torch": ("torch", "torch")}
_NOT_BUILT = (
    "it was not built when tinyrerank was installed: install a C++ compiler (GCC 11, Clang 13 or later) and "
    "then tinyrerank again, or pip install 'tinyrerank[onnx]'"
)


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """Whether an engine works here.

    Attributes:
        name: ``native``, ``onnx`` or ``torch``.
        works: whether :func:`load_engine` can use it.
        detail: what it runs on, or the reason why it does not work.
    """

    name: str
    works: bool
    detail: str


def available_engines() -> tuple[EngineStatus, ...]:
    """The status of each known engine, the preferred one first.

    It imports their libraries, which takes a second or two.
    """
    return tuple(_status(name) for name in ENGINES)


def load_engine(
    folder: str | Path,
    name: str = "auto",
    *,
    threads: int | None = None,
    **options: Any,  # noqa: ANN401 - each engine declares its own
) -> Engine:
    """Load a model folder into an engine.

    Args:
        folder: a model folder.
        name: an engine of :data:`ENGINES`, or ``auto`` for the first that works here and takes the options.
        threads: threads for one call; None for all CPUs that the process may use.
        **options: settings of the engine: ``mode`` for ``native`` and ``onnx``, ``device`` and ``dtype`` for
            ``torch``.

    Raises:
        InputError: unknown engine, option or setting.
        ModelError: the folder is not a usable model.
        MissingExtraError: the engine asked for is not installed.
        EngineError: it does not work here, or with ``auto`` none does; says why.
    """
    if name == "auto":
        return _load_best(folder, threads, options)
    if name not in ENGINES:
        raise InputError(f"no engine {name!r}; known: auto, {', '.join(ENGINES)}")
    load = _loader(name)
    unknown = _unknown(load, options)
    if unknown:
        raise InputError(
            f"the {name} engine has no option {unknown!r}; it takes: {', '.join(_options(load))}"
        )
    _need_library(name)
    return load(folder, threads=threads, **options)


def _load_best(folder: str | Path, threads: int | None, options: dict[str, Any]) -> Engine:
    """The first engine that takes the options and works here; else the reasons of those that take them."""
    errors: dict[str, EngineError | MissingExtraError | InputError] = {}
    for candidate in ENGINES:
        try:
            load = _loader(candidate)
            if _unknown(load, options):
                continue
            _need_library(candidate)
            return load(folder, threads=threads, **options)
        except InputError as error:
            if not errors:  # a better engine that took the setting, but lacks something, has the say
                raise
            errors[candidate] = error
        except (EngineError, MissingExtraError) as error:
            errors[candidate] = error
    if not errors:
        raise InputError(f"no engine takes the options {', '.join(options)}")
    if len(errors) == 1:
        raise next(iter(errors.values()))
    raise EngineError("no engine works here: " + "; ".join(f"{n}: {error}" for n, error in errors.items()))


def _loader(name: str) -> Callable[..., Engine]:
    """The ``load`` function of an engine's module; its library may be missing.

    Raises:
        EngineError: the engine is not part of this installation, or cannot be imported here.
    """
    try:
        module = importlib.import_module(f"tinyrerank.engine.{name}")
    except ModuleNotFoundError as error:
        if error.name == "tinyrerank.engine.native._native":
            raise EngineError(_NOT_BUILT) from None
        raise EngineError(
            f"the {name} engine is not part of this installation (no module {error.name})"
        ) from None
    except (ImportError, OSError) as error:  # a shared library that does not load here
        raise EngineError(f"the {name} engine cannot be loaded here: {error}") from error
    loader: Callable[..., Engine] = module.load
    return loader


def _need_library(name: str) -> None:
    """Import the library that an engine stands on.

    Raises:
        MissingExtraError: it is not installed.
        EngineError: it cannot be imported here.
    """
    if name not in _LIBRARIES:
        return
    library, extra = _LIBRARIES[name]
    try:
        importlib.import_module(library)
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == library:
            raise MissingExtraError(f"the {name} engine", extra) from None
        raise EngineError(f"the {name} engine cannot be loaded here: {error}") from error


def _status(name: str) -> EngineStatus:
    try:
        load = _loader(name)
        _need_library(name)
    except (EngineError, MissingExtraError) as error:
        return EngineStatus(name, works=False, detail=str(error))
    if name in _LIBRARIES:
        library = _LIBRARIES[name][0]
        return EngineStatus(
            name, works=True, detail=f"{library} {importlib.import_module(library).__version__}"
        )
    return EngineStatus(name, works=True, detail=str(getattr(load, "detail", "compiled for this machine")))


def _options(load: Callable[..., Engine]) -> list[str]:
    return [option for option in signature(load).parameters if option not in ("folder", "threads")]


def _unknown(load: Callable[..., Engine], options: dict[str, Any]) -> str | None:
    """The first option that ``load`` does not take."""
    return next((option for option in options if option not in _options(load)), None)
