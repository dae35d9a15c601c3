"""Ask a running server from asyncio: many questions at once, with a deadline, polite when it is busy.

    tinyrerank serve &                    # extra: serve
    python examples/async_client.py       # or with the server's address: http://127.0.0.1:8080

Only the standard library; with httpx or aiohttp the request is one line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
from typing import Any

QUESTIONS = ["what makes dough rise?", "what pulls the sea?", "how far away is the storm?"]
DOCUMENTS = [
    "The Moon's gravity raises the tides.",
    "Yeast turns sugar into gas, and the gas lifts the dough.",
    "Count the seconds between lightning and thunder; three seconds are about a kilometre.",
]


def post(url: str, body: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """One request; blocks its thread."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310 - http
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 - http
        found: dict[str, Any] = json.load(answer)
    return found


async def rerank(server: str, query: str, *, tries: int = 3) -> list[tuple[float, str]]:
    """Score and document, best first; waits as long as the server asks when it has no room."""
    body = {"query": query, "documents": DOCUMENTS, "top_n": 2}
    for left in reversed(range(tries)):
        try:
            answer = await asyncio.to_thread(post, f"{server}/v1/rerank", body, 10.0)
            return [(row["relevance_score"], DOCUMENTS[row["index"]]) for row in answer["results"]]
        except urllib.error.HTTPError as error:
            if error.code != 429 or not left:
                raise
            await asyncio.sleep(float(error.headers.get("Retry-After", 1)))
    raise AssertionError("the last try returns or raises")


async def main(server: str) -> None:
    """Ask everything at the same time."""
    answers = await asyncio.gather(*(rerank(server, question) for question in QUESTIONS))
    for question, ranking in zip(QUESTIONS, answers, strict=True):
        print(f"{question}\n  {ranking[0][0]:.3f}  {ranking[0][1]}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"))
