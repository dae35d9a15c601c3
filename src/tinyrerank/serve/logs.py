"""Logs on standard error: an object a line, with request ids and without texts.

Records pass through a bounded queue to a thread that writes them, so that a full disk or a blocked pipe never
holds up a request; what does not fit is counted and reported when there is room again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import queue
import sys
import time
from logging.handlers import QueueHandler, QueueListener
from typing import IO, Any

_MAX_RECORDS = 10_000
#: Attributes that a request's record may carry.
FIELDS = (
    "request_id", "method", "path", "status", "ms", "dialect", "model", "client", "documents", "tokens",
    "cached", "truncated", "unscored", "code", "worker",
)  # fmt: skip


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; everything is escaped, so no text from outside can begin a line of its own."""
        fields = _fields(record)
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """A record as one line of text for people, its values escaped as in JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a traceback follows it."""
        fields = _fields(record)
        head = f"{fields.pop('time')} {fields.pop('level'):7} {json.dumps(fields.pop('message'))[1:-1]}"
        line = " ".join(
            [head, *(f"{name}={json.dumps(value, default=str)}" for name, value in fields.items())]
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    fields: dict[str, Any] = {
        "time": f"{stamp}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    fields.update({name: record.__dict__[name] for name in FIELDS if record.__dict__.get(name) is not None})
    return fields


class _Handler(QueueHandler):
    """Puts records into the queue, or counts them."""

    def __init__(self, records: queue.Queue[Any]) -> None:
        super().__init__(records)
        self.lost = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record  # the thread is of this process: nothing needs to be flattened

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.lost += 1


class _Writer(logging.StreamHandler[IO[str]]):
    """Writes lines; a full disk costs lines, not requests."""

    def __init__(self, stream: IO[str], source: _Handler) -> None:
        super().__init__(stream)
        self._source = source
        self._failed = 0

    def emit(self, record: logging.LogRecord) -> None:
        lost = self._source.lost + self._failed
        try:
            if lost:
                self.stream.write(
                    json.dumps({"level": "warning", "message": f"{lost} log lines were lost"}) + "\n"
                )
                self._source.lost = self._failed = 0
            self.stream.write(self.format(record) + "\n")
            self.stream.flush()
        except (OSError, ValueError):  # the disk is full, or the stream was closed
            self._failed += 1


class Logs:
    """The logging of a server process while it is open.

    Args:
        level: least severe level that is written.
        log_format: ``json`` or ``text``.
        stream: where lines go; None for standard error.
    """

    def __init__(self, level: str, log_format: str, stream: IO[str] | None = None) -> None:
        handler = _Handler(queue.Queue(_MAX_RECORDS))
        writer = _Writer(stream or sys.stderr, handler)
        writer.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
        self._listener = QueueListener(handler.queue, writer)
        self._handler = handler
        self._loggers = [logging.getLogger(name) for name in ("tinyrerank.serve", "uvicorn.error")]
        for logger in self._loggers:
            logger.handlers = [handler]
            logger.propagate = False
            logger.setLevel(level.upper())
        self._listener.start()

    def close(self) -> None:
        """Write what is left."""
        for logger in self._loggers:
            logger.removeHandler(self._handler)
            logger.propagate = True
        with contextlib.suppress(OSError, ValueError):
            self._listener.stop()
