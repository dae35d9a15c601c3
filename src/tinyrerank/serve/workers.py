"""Several processes on one port: loaded once, forked, watched, and told to stop together.

Models are loaded before the fork, so that all workers share one copy of the weights in memory; the native
engine starts its threads in each worker on first use. Other engines do not survive a fork: with them each
worker loads for itself. The parent only watches, and never computes.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from types import FrameType

from tinyrerank.engine.threads import usable_cpus
from tinyrerank.serve.logs import Logs
from tinyrerank.serve.metrics import forget_worker, shared_folder
from tinyrerank.serve.models import Models, load_models
from tinyrerank.serve.server import listen, run_worker
from tinyrerank.serve.settings import Settings

_RESTART_PAUSE_S = 1.0
_log = logging.getLogger("tinyrerank.serve")


def serve_with_workers(settings: Settings) -> int:
    """Serve in ``settings.workers`` processes until SIGTERM or SIGINT; a worker that dies is replaced."""
    threads = settings.threads or max(1, usable_cpus() // settings.workers)
    loaded = load_models(settings, threads=threads)
    models: Models | None = loaded
    if any(model.reranker.engine.name != "native" for model in loaded):
        loaded.close()
        models = None
    folder = Path(tempfile.mkdtemp(prefix="tinyrerank-metrics-"))
    shared_folder(folder)
    try:
        with listen(settings) as listener:
            gc.freeze()  # what is there now is never collected, so its pages stay shared
            return _Supervisor(settings, models, listener, threads).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Supervisor:
    """The parent of the workers."""

    def __init__(
        self, settings: Settings, models: Models | None, listener: socket.socket, threads: int
    ) -> None:
        self._settings = settings
        self._models = models
        self._listener = listener
        self._threads = threads
        self._numbers: dict[int, int] = {}  # worker number by process id
        self._born: dict[int, float] = {}
        self._stopping = False

    def run(self) -> int:
        """Watch until all workers have ended."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        for number in range(self._settings.workers):
            self._fork(number)
        code = 0
        while self._numbers:
            process_id, status = os.wait()
            if process_id not in self._numbers:
                continue
            number = self._numbers.pop(process_id)
            with contextlib.suppress(OSError):
                forget_worker(process_id)
            if self._stopping:
                clean = os.waitstatus_to_exitcode(status) in (0, -signal.SIGTERM)
                code = code if clean else 1
            else:
                self._replace(number, process_id, os.waitstatus_to_exitcode(status))
        return code

    def _replace(self, number: int, process_id: int, code: int) -> None:
        """Start a worker anew; one that dies at once is given a pause."""
        self._say(f"worker {number} ended with code {code} and is started anew")
        if time.monotonic() - self._born.pop(process_id) < _RESTART_PAUSE_S:
            time.sleep(_RESTART_PAUSE_S)
        if not self._stopping:
            self._fork(number)

    def _fork(self, number: int) -> None:
        process_id = os.fork()
        if process_id:
            self._numbers[process_id] = number
            self._born[process_id] = time.monotonic()
            if self._stopping:  # the signal came between the fork and the lines above
                os.kill(process_id, signal.SIGTERM)
            return
        code = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            models = self._models or load_models(self._settings, threads=self._threads)
            code = run_worker(self._settings, models, self._listener, threads=self._threads, worker=number)
        except BaseException as error:  # noqa: BLE001 - a worker must not run on as a second parent
            self._say(f"worker {number} failed: {error}")
        finally:
            os._exit(code)

    def _stop(self, _: int, __: FrameType | None) -> None:
        """Tell all workers to stop; with SIGTERM, since a second SIGINT would mean at once."""
        self._stopping = True
        for process_id in self._numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGTERM)

    def _say(self, message: str) -> None:
        """One line in the log; the parent keeps no thread for it, since it forks."""
        logs = Logs(self._settings.log_level, self._settings.log_format)
        _log.warning(message)
        logs.close()
