"""Logs on standard error: an object a line, with request ids and without texts.

Records pass through a bounded queue to a thread that writes them, so that a full disk or a blocked pipe never
holds up a request, nor the end of the process; what does not fit is counted and reported when there is room
again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

_MAX_RECORDS = 10_000
_STDERR = 2
_LAST_LINES_S = 2.0
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


class Logs(logging.Handler):
    """The logging of a server process while it is open.

    Args:
        level: least severe level that is written.
        log_format: ``json`` or ``text``.
        write: takes lines, and may raise OSError; None for standard error.
    """

    def __init__(self, level: str, log_format: str, write: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
        self.lost = 0
        self._write = write or _to_stderr
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(_MAX_RECORDS)
        self._thread = threading.Thread(target=self._run, name="tinyrerank-logs", daemon=True)
        self._thread.start()
        self._loggers = [logging.getLogger(name) for name in ("tinyrerank.serve", "uvicorn.error")]
        for logger in self._loggers:
            logger.handlers = [self]
            logger.propagate = False
            logger.setLevel(level.upper())

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or count it as lost."""
        try:
            self._records.put_nowait(record)
        except queue.Full:
            self.lost += 1

    def close(self) -> None:
        """Write what is left, as far as that takes no more than a moment."""
        for logger in self._loggers:
            logger.removeHandler(self)
            logger.propagate = True
        with contextlib.suppress(queue.Full):
            self._records.put(None, timeout=_LAST_LINES_S)
        self._thread.join(_LAST_LINES_S)
        super().close()

    def _run(self) -> None:
        while (record := self._records.get()) is not None:
            try:
                if self.lost:
                    self._write(
                        json.dumps({"level": "warning", "message": f"{self.lost} log lines were lost"}) + "\n"
                    )
                    self.lost = 0
                self._write(self.format(record) + "\n")
            except OSError:  # the disk is full, or nobody reads any more
                self.lost += 1
            self._records.task_done()


def _to_stderr(text: str) -> None:
    """Write without Python's buffers, whose locks a blocked thread would hold when the process ends."""
    data = text.encode(errors="backslashreplace")
    while data:
        data = data[os.write(_STDERR, data) :]
