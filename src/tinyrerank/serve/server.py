"""Runs the application on a port."""

from __future__ import annotations

import uvicorn

from tinyrerank.serve.app import build_app
from tinyrerank.serve.models import load_models
from tinyrerank.serve.service import Service
from tinyrerank.serve.settings import Settings


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code."""
    service = Service(settings, load_models(settings, threads=settings.threads))
    config = uvicorn.Config(build_app(service), host=settings.host, port=settings.port, lifespan="on", ws="none")
    uvicorn.Server(config).run()
    return 0
