"""One ordinary server for all tests that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="needs the extra serve")
pytest.importorskip("uvicorn", reason="needs the extra serve")
from serve_harness import KEY, Running, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Running]:
    """Open to all, with small limits."""
    limits = ["--max-body-bytes", "300000", "--max-header-bytes", "4096", "--body-timeout-s", "1.5"]
    with serving(tmp_path_factory.mktemp("server"), tiny_folder, *limits) as running:
        yield running


@pytest.fixture(scope="session")
def locked(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Iterator[Running]:
    """A server that wants a key."""
    with serving(tmp_path_factory.mktemp("locked"), tiny_folder, "--api-keys", KEY) as running:
        yield running


@pytest.fixture(scope="session")
def expected(server: Running) -> list[float]:
    """Scores of the ordinary request."""
    return server.scores()
