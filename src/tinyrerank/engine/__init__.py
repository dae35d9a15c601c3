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
    if name != "auto":
        if name not in ENGINES:
            raise InputError(f"no engine {name!r}; known: auto, {', '.join(ENGINES)}")
        load = _loader(name)
        unknown = _unknown(load, options)
        if unknown:
            raise InputError(
                f"the {name} engine has no option {unknown!r}; it takes: {', '.join(_options(load))}"
            )
        return load(folder, threads=threads, **options)
    reasons: list[str] = []
    failed = False
    for candidate in ENGINES:
        try:
            load = _loader(candidate)
            unknown = _unknown(load, options)
            if not unknown:
                return load(folder, threads=threads, **options)
            reasons.append(f"{candidate}: has no option {unknown!r}")
        except InputError as error:
            if not failed:  # a better engine that took the setting, but lacks something, has the say
                raise
            reasons.append(f"{candidate}: {error}")
        except (EngineError, MissingExtraError) as error:
            failed = True
            reasons.append(f"{candidate}: {error}")
    raise EngineError("no engine works here: " + "; ".join(reasons))


def _loader(name: str) -> Callable[..., Engine]:
    """The ``load`` function of an engine's module, its library checked first.

    Raises:
        MissingExtraError: the library is not installed.
        EngineError: the engine is not part of this installation, or cannot be imported here.
    """
    try:
        if name in _LIBRARIES:
            importlib.import_module(_LIBRARIES[name][0])
        module = importlib.import_module(f"tinyrerank.engine.{name}")
    except ModuleNotFoundError as error:
        if name in _LIBRARIES and error.name == _LIBRARIES[name][0]:
            raise MissingExtraError(f"the {name} engine", _LIBRARIES[name][1]) from None
        if error.name == "tinyrerank.engine.native._native":
            raise EngineError(_NOT_BUILT) from None
        raise EngineError(
            f"the {name} engine is not part of this installation (no module {error.name})"
        ) from None
    except (ImportError, OSError) as error:  # a shared library that does not load here
        raise EngineError(f"the {name} engine cannot be loaded here: {error}") from error
    loader: Callable[..., Engine] = module.load
    return loader


def _status(name: str) -> EngineStatus:
    try:
        load = _loader(name)
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
