"""Wire formats. Each is one file that turns a body into a :class:`RerankRequest` and an answer into a body.

To add one, write ``dialects/NAME.py`` with its ``DIALECTS`` and put the name into ``_MODULES``. Several share
``/rerank`` and ``/v1/rerank``: there the first one whose ``sniff`` recognises the body takes it, and Jina
takes what nobody recognises. Under its own prefix a dialect is never guessed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tinyrerank.serve.dialects.common import FlatError, flat_error
from tinyrerank.serve.request import RerankAnswer, RerankRequest
from tinyrerank.serve.settings import Settings

__all__ = ["SHARED_PATHS", "Dialect", "by_path", "dialects", "sniff"]

#: Paths where the body decides.
SHARED_PATHS = ("/rerank", "/v1/rerank")
#: In the order in which they look at a body on a shared path; Jina is the last.
_MODULES = ("tei", "weaviate", "siliconflow", "xinference", "cohere", "voyage", "vllm", "infinity", "jina")

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One wire format.

    Attributes:
        name: lower case, unique; metrics and logs show it.
        title: for people.
        paths: where it answers POST without a look at the body.
        request_type: a msgspec struct, the body; the OpenAPI document is made from it.
        answer_type: the type of what ``render`` gives.
        parse: body and settings to the internal request; raises ``InvalidError``.
        render: request and answer to an object that msgspec can encode.
        sniff: whether a body on a shared path is of this dialect; None for dialects that only have paths.
        error_type: the type of what ``render_error`` gives.
        render_error: status, code, message, request id and field at fault to an object that msgspec can
            encode.
    """

    name: str
    title: str
    paths: tuple[str, ...]
    request_type: Any
    answer_type: Any
    parse: Callable[[dict[str, Any], Settings], RerankRequest]
    render: Callable[[RerankRequest, RerankAnswer], Any]
    sniff: Callable[[Body], bool] | None = None
    error_type: Any = FlatError
    render_error: Callable[[int, str, str, str, str | None], Any] = flat_error


@cache
def dialects() -> tuple[Dialect, ...]:
    """All dialects, in the order in which they look at a body."""
    modules = (importlib.import_module(f"{__name__}.{name}") for name in _MODULES)
    return tuple(dialect for module in modules for dialect in module.DIALECTS)


def by_path() -> dict[str, Dialect]:
    """The dialect of every path that has just one."""
    return {path: dialect for dialect in dialects() for path in dialect.paths}


def sniff(body: Body) -> Dialect:
    """The dialect of a body on a shared path."""
    for dialect in dialects():
        if dialect.sniff is not None and dialect.sniff(body):
            return dialect
    raise LookupError("the last dialect takes everything")
