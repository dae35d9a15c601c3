"""Errors that only a server has.

::

    TinyrerankError
    ├── RequestError        400  bad_request         the body is not JSON, or not an object
    ├── UnauthorizedError   401  unauthorized        no API key, or a wrong one
    ├── UnknownModelError   404  model_not_found     no model of that name
    ├── SlowBodyError       408  body_timeout        the body did not arrive in time
    ├── BodyTooLargeError   413  body_too_large      more bytes or documents than the server takes
    ├── MediaTypeError      415  unsupported_media   the body is compressed, or not of the expected type
    ├── InvalidError        422  invalid_request     a field is missing, of a wrong type or out of range
    ├── TooLongPairError    422  too_long            a pair is too long, and the request forbids to cut it
    ├── OverloadedError     429  overloaded          the queue is full; carries when to come back
    ├── HeadersTooLargeError 431 headers_too_large   more bytes of headers than the server reads
    ├── UnavailableError    503  unavailable         starting, draining, or the engine is being restarted
    └── DeadlineError       504  deadline_exceeded   not one document was scored in time
"""

from __future__ import annotations

from tinyrerank.errors import BusyError, InputError, TinyrerankError


class RequestError(InputError):
    """A body that cannot be read as JSON, or is no object."""

    code = "bad_request"
    http_status = 400


class UnauthorizedError(TinyrerankError):
    """No API key, or a wrong one."""

    code = "unauthorized"
    http_status = 401


class UnknownModelError(InputError):
    """A model that this server does not have."""

    code = "model_not_found"
    http_status = 404


class SlowBodyError(RequestError):
    """A body that did not arrive in time."""

    code = "body_timeout"
    http_status = 408


class BodyTooLargeError(InputError):
    """More than the server takes in one request."""

    code = "body_too_large"
    http_status = 413


class MediaTypeError(InputError):
    """A body in a form that is not read."""

    code = "unsupported_media"
    http_status = 415


class InvalidError(InputError):
    """A field that is missing, of a wrong type, or out of range.

    Attributes:
        field: the path of the field, such as ``documents``.
    """

    code = "invalid_request"
    http_status = 422

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TooLongPairError(InvalidError):
    """A pair that is too long in a request that forbids to cut it."""

    code = "too_long"


class OverloadedError(BusyError):
    """The queue is full.

    Attributes:
        retry_after_s: seconds after which there should be room, by the measured speed.
    """

    code = "overloaded"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class HeadersTooLargeError(RequestError):
    """More bytes of headers than the server reads."""

    code = "headers_too_large"
    http_status = 431


class UnavailableError(TinyrerankError):
    """Not ready, or about to stop."""

    code = "unavailable"
    http_status = 503
    retryable = True


class DeadlineError(TinyrerankError):
    """Nothing was scored in time."""

    code = "deadline_exceeded"
    http_status = 504
    retryable = True


#: ``error_type`` by HTTP status where it is not ``Validation``; clients of text-embeddings-inference read it.
ERROR_TYPES = {429: "Overloaded", 500: "Backend", 503: "Unhealthy", 504: "Overloaded"}
