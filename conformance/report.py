"""The results of a conformance run as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HEAD = """\
# Conformance: real clients against `tinyrerank serve`

Unmodified packages, called as their users call them, against the server on loopback. Every client takes the
same tests: order and indices as the library's, scores within 2e-6 of the library's, `top_n`, 1 and 500
documents, Unicode, an empty document, one longer than the model reads, equal documents, a wrong key, an
unknown model, a query that is too long, and a full server; a refusal must reach the user in words, where
the client lets any through. Clients with a hard-coded host are led to the server by a loopback proxy and a
throw-away certificate.

Repeat it with `make conformance`; [the code](../conformance), [the raw outcomes](results/conformance.json).
"""


def write_report(folder: Path, facts: dict[str, str], lines: Sequence[dict[str, Any]]) -> None:
    """Write ``results/conformance.json`` and ``conformance.md`` into the folder of the documentation."""
    (folder / "results").mkdir(parents=True, exist_ok=True)
    data = json.dumps({**facts, "outcomes": list(lines)}, indent=1, ensure_ascii=False)
    (folder / "results" / "conformance.json").write_text(data + "\n", encoding="utf-8")
    (folder / "conformance.md").write_text(markdown(facts, lines), encoding="utf-8")


def markdown(facts: dict[str, str], lines: Sequence[dict[str, Any]]) -> str:
    """The page: one row a client and version, then what failed and why tests were left out."""
    clients: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for line in lines:
        clients.setdefault((line["environment"], line["client"], line["version"]), []).append(line)
    rows = ["| client | package | passed | failed | does not apply |", "| --- | --- | --- | --- | --- |"]
    for (_, client, version), these in clients.items():
        counts = [sum(line["outcome"] == kind for line in these) for kind in ("passed", "failed", "skipped")]
        if counts[0] or counts[1]:
            rows.append(f"| {client} | {version} | {counts[0]} | {counts[1] or ''} | {counts[2] or ''} |")
    failed = [line for line in lines if line["outcome"] == "failed"]
    total = f"{len(rows) - 2} rows, {sum(line['outcome'] == 'passed' for line in lines)} tests passed"
    parts = [
        _HEAD,
        f"Run on {facts['date']}, Python {facts['python']}: {total}, {len(failed)} failed.\n",
        "\n".join(rows) + "\n",
    ]
    if failed:
        reasons = [f"- {line['client']}: `{line['test']}`: {_last_line(line['reason'])}" for line in failed]
        parts.append("## What failed\n\n" + "\n".join(reasons) + "\n")
    reasons = sorted({line["reason"] for line in lines if line["outcome"] == "skipped"})
    parts.append("## Why tests do not apply\n\n" + "\n".join(f"- {reason}" for reason in reasons) + "\n")
    return "\n".join(parts)


def _last_line(text: str) -> str:
    words = [line.strip() for line in text.splitlines() if line.strip()]
    return words[-1][:200] if words else ""
