"""Every error that this package raises on purpose.

::

    TinyrerankError            code             HTTP  exit  retryable
    ├── InputError             bad_input        422   2     no      a query, document or argument is off
    │   └── TooLongError       too_long         413   2     no      a pair does not fit and may not be cut
    ├── DataError              bad_data         422   3     no      a file is malformed; names file and line
    ├── ModelError             bad_model        500   4     no      a model folder cannot be used
    ├── MissingExtraError      missing_extra    501   5     no      an optional dependency is not installed
    │   └── MissingFrameworkError  … and an ImportError: the framework of an integration
    ├── EngineError            engine_failed    500   6     no      the engine broke on valid input
    └── BusyError              busy             429   7     yes     no room now, try again

Exit code 1 is left to unexpected failures, 130 to an interrupt.
"""

from __future__ import annotations

from typing import ClassVar


class TinyrerankError(Exception):
    """Root of the tree. ``str()`` is one line: what was given, what is allowed, what to do next."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False


class InputError(TinyrerankError):
    """A query, a document or an argument that cannot be used as it is."""

    code = "bad_input"
    http_status = 422
    exit_code = 2


class TooLongError(InputError):
    """A pair longer than ``max_length`` under a policy that forbids cutting it.

    Attributes:
        index: position of the document in the caller's list, or None when the query alone is too long.
        tokens: tokens that the pair (or the query) needs.
        limit: tokens that are allowed.
    """

    code = "too_long"
    http_status = 413

    def __init__(self, message: str, *, index: int | None, tokens: int, limit: int) -> None:
        super().__init__(message)
        self.index = index
        self.tokens = tokens
        self.limit = limit


class DataError(TinyrerankError):
    """A malformed file; the message names the file and, where there is one, the line."""

    code = "bad_data"
    http_status = 422
    exit_code = 3


class ModelError(TinyrerankError):
    """A folder that is not a usable model; the message names the file, field or tensor."""

    code = "bad_model"
    exit_code = 4


class MissingExtraError(TinyrerankError):
    """An optional dependency is not installed.

    Args:
        what: what was asked for.
        extra: name of the extra that brings it.
    """

    code = "missing_extra"
    http_status = 501
    exit_code = 5

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'tinyrerank[{extra}]'")
        self.extra = extra


class MissingFrameworkError(MissingExtraError, ImportError):
    """The framework that an integration plugs into is not installed, so its module cannot be imported.

    Args:
        framework: its name, as users write it.
        extra: name of the extra that brings it.
    """

    def __init__(self, framework: str, extra: str) -> None:
        super().__init__(f"the {framework} integration", extra)


class EngineError(TinyrerankError):
    """The engine failed on input that it should have taken."""

    code = "engine_failed"
    exit_code = 6


class BusyError(TinyrerankError):
    """There is no room for the request now."""

    code = "busy"
    http_status = 429
    exit_code = 7
    retryable = True
