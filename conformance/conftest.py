"""Fixtures of the conformance runs, and a plug-in that records every outcome for ``run.py``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from connect_proxy import ConnectProxy
from contract import Case, Server, load_cases


@pytest.fixture(scope="session")
def server() -> Server:
    """The server under test."""
    return Server(
        os.environ["CONFORMANCE_URL"], os.environ["CONFORMANCE_KEY"], os.environ["CONFORMANCE_MODEL"]
    )


@pytest.fixture(scope="session")
def open_server() -> Server:
    """A server that asks for no key, for clients that cannot send one."""
    return Server(os.environ["CONFORMANCE_OPEN_URL"], "", os.environ["CONFORMANCE_MODEL"])


@pytest.fixture(scope="session")
def busy() -> Server:
    """A server whose queue is full for as long as the run lasts."""
    return Server(os.environ["CONFORMANCE_BUSY_URL"], "any", os.environ["CONFORMANCE_MODEL"])


@pytest.fixture(scope="session")
def cases() -> dict[str, Case]:
    """Queries and documents with the scores that the library gives them."""
    return load_cases()


@pytest.fixture(scope="session")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectProxy]:
    """Stands in for the host that a client has hard-coded."""
    with ConnectProxy(tmp_path_factory.mktemp("authority")) as running:
        yield running


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Append one line of JSON for every outcome to the file named by ``CONFORMANCE_OUT``."""
    path = os.environ.get("CONFORMANCE_OUT")
    if not path or (report.when != "call" and report.outcome == "passed"):
        return
    properties = dict(report.user_properties)
    if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
    else:
        reason = report.longreprtext[-1500:] if report.outcome == "failed" else ""
    line: dict[str, Any] = {
        "client": properties.get("client", report.nodeid),
        "version": properties.get("version", ""),
        "test": report.nodeid.rsplit("::", 1)[-1],
        "outcome": report.outcome,
        "reason": reason,
    }
    with Path(path).open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


@pytest.fixture(autouse=True)
def _named(request: pytest.FixtureRequest, record_property: Any) -> None:
    """Note whose test it is."""
    owner = request.cls if request.cls is not None else request.module
    package = getattr(owner, "package", None) or getattr(owner, "PACKAGE", "")
    record_property("client", getattr(owner, "client", None) or getattr(owner, "CLIENT", request.node.name))
    record_property("version", f"{package} {metadata.version(package)}" if package else "")
