"""The models of a server, by name and alias."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinyrerank.errors import InputError
from tinyrerank.reranker import Reranker
from tinyrerank.serve.errors import UnknownModelError
from tinyrerank.serve.settings import Settings

#: The name of the model that the package carries.
DEFAULT_NAME = "tinyrerank-tiny-en"
#: What it also answers to: the model whose place it takes.
DEFAULT_ALIASES = ("jina-reranker-v1-tiny-en", "jinaai/jina-reranker-v1-tiny-en")
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A loaded model.

    Attributes:
        name: its own name.
        reranker: loaded and ready.
        created: seconds since 1970 at loading.
    """

    name: str
    reranker: Reranker
    created: int


class Models:
    """Finds a model by the name that a request gives.

    Args:
        models: in the order of the settings; the first one answers requests that name none.
        aliases: further names, each with the name of its model.

    Raises:
        InputError: a name stands twice, or an alias leads nowhere.
    """

    def __init__(self, models: Sequence[ServedModel], aliases: Sequence[tuple[str, str]] = ()) -> None:
        if not models:
            raise InputError("no model to serve")
        self._models = {model.name: model for model in models}
        if len(self._models) < len(models):
            raise InputError("two models have the same name; give each its own: NAME=FOLDER")
        self.aliases: dict[str, str] = {}
        for alias, name in aliases:
            if name not in self._models:
                raise InputError(f"alias {alias!r}: no model {name!r}; known: {', '.join(self._models)}")
            if alias in self._models or self.aliases.get(alias, name) != name:
                raise InputError(f"alias {alias!r} is the name of another model")
            self.aliases[alias] = name
        self.default = models[0]

    def find(self, name: str | None) -> ServedModel:
        """The model of a name or alias; the default for None and for an empty name.

        Raises:
            UnknownModelError: no such model; says which there are.
        """
        if not name:
            return self.default
        model = self._models.get(self.aliases.get(name, name))
        if model is None:
            shown = name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"
            raise UnknownModelError(
                f"no model {shown!r} here; known: {', '.join((*self._models, *self.aliases))}"
            )
        return model

    def add(self, model: ServedModel) -> None:
        """Serve one more model.

        Raises:
            InputError: its name is taken.
        """
        if model.name in self._models or model.name in self.aliases:
            raise InputError(f"there is a model {model.name!r} already")
        self._models[model.name] = model

    def remove(self, name: str) -> ServedModel:
        """Serve a model no longer; its aliases go, too.

        Raises:
            UnknownModelError: no such model.
            InputError: it is the one that answers requests that name none.
        """
        if name not in self._models:
            raise UnknownModelError(f"no model {name!r} here")
        if self._models[name] is self.default:
            raise InputError(f"{name!r} is the default model and cannot be unloaded")
        self.aliases = {alias: of for alias, of in self.aliases.items() if of != name}
        return self._models.pop(name)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(tuple(self._models.values()))

    def close(self) -> None:
        """Free all models."""
        for model in self:
            model.reranker.close()


def load_model(name: str, source: str | None, settings: Settings, *, threads: int | None) -> ServedModel:
    """Load one model; arguments and errors as in :func:`load_models`."""
    reranker = Reranker(
        source,
        engine=settings.engine,
        threads=threads,
        device=settings.device,
        max_length=settings.max_length,
        policy=settings.policy,  # type: ignore[arg-type]  # Settings checks it
        overlap_tokens=settings.overlap_tokens,
        query_window=settings.query_window,
    )
    return ServedModel(name, reranker, int(time.time()))


def load_models(settings: Settings, *, threads: int | None) -> Models:
    """Load every model of the settings.

    Args:
        settings: names, engine, limits and policy.
        threads: threads of each engine.

    Raises:
        InputError: a name or alias is malformed or stands twice.
        ModelError: a model cannot be used.
    """
    wanted = [_named(text) for text in settings.models] or [(DEFAULT_NAME, None)]
    loaded: list[ServedModel] = []
    try:
        loaded.extend(load_model(name, source, settings, threads=threads) for name, source in wanted)
        aliases = [_pair(text, "aliases") for text in settings.aliases]
        taken = {name for name, _ in wanted} | {alias for alias, _ in aliases}
        if settings.default_aliases:
            bundled = next((name for name, source in wanted if source is None), None)
            aliases += [(alias, bundled) for alias in DEFAULT_ALIASES if bundled and alias not in taken]
        return Models(loaded, aliases)
    except BaseException:
        for model in loaded:
            model.reranker.close()
        raise


def _named(text: str) -> tuple[str, str | None]:
    """``NAME=SOURCE``; the name of the package's own model needs no source."""
    if text == DEFAULT_NAME:
        return text, None
    return _pair(text, "models")


def _pair(text: str, setting: str) -> tuple[str, str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (name and equals and value):
        raise InputError(f"{setting}: {text!r} is not of the form NAME=VALUE")
    if len(name) > _MAX_NAME or not name.isprintable():
        raise InputError(f"{setting}: a name has at most {_MAX_NAME} printable characters")
    return name, value
