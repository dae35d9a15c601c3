"""MCP: a server with one tool, ``rerank``, for assistants that have more texts than they can read."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from tinyrerank import __version__
from tinyrerank.errors import MissingFrameworkError, TinyrerankError
from tinyrerank.integrations.base import LazyReranker
from tinyrerank.types import Policy

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations
    from pydantic import BaseModel, Field
except ImportError as error:
    raise MissingFrameworkError("MCP", "mcp") from error

__all__ = ["Reranked", "RerankedDocument", "build_server"]


class RerankedDocument(BaseModel):
    """One document of an answer; ``truncated`` says that only the first ``tokens_read`` tokens were read."""

    index: int
    score: float
    tokens_read: int
    tokens_total: int
    truncated: bool
    text: str | None


class Reranked(BaseModel):
    """What the tool answers: documents best first, and how many there were."""

    results: list[RerankedDocument]
    n_documents: int


def build_server(
    model: str | None = None,
    *,
    engine: str = "auto",
    max_length: int | None = None,
    policy: Policy = "truncate",
    threads: int | None = None,
) -> Any:  # noqa: ANN401 - an MCPServer
    """An MCP server; ``run("stdio")`` serves it.

    Args:
        model: None for the model in the package, a folder, or a hub name.
        engine: name of the engine.
        max_length: tokens of a model input; None for the model's own limit.
        policy: what happens to longer documents.
        threads: threads of the engine.
    """
    lazy = LazyReranker(model, engine=engine, max_length=max_length, policy=policy, threads=threads)
    server = MCPServer("tinyrerank", version=__version__, instructions=_INSTRUCTIONS)

    @server.tool(
        title="Rank texts by how well they answer a query",
        annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False),
    )
    async def rerank(
        query: Annotated[str, Field(description="A question or search words, in English.")],
        documents: Annotated[list[str], Field(description="The texts to rank.")],
        top_n: Annotated[int | None, Field(ge=1, description="How many to return; all if absent.")] = None,
        return_text: Annotated[bool, Field(description="Return the texts, too.")] = False,
    ) -> Reranked:
        """Rank texts by how well they answer a query, best first.

        Give the candidates of a search (20 to 200 texts). Each result names its text by its place in the
        list, from 0. Scores order the texts of one query; they are no probabilities and do not compare
        between queries.
        """
        try:
            ranking = await asyncio.to_thread(lazy.rank, query, documents, top_n)
        except TinyrerankError as error:
            raise ToolError(str(error)) from error
        results = [
            RerankedDocument(
                index=hit.index,
                score=hit.score,
                tokens_read=hit.receipt.tokens_read,
                tokens_total=hit.receipt.tokens_total,
                truncated=hit.receipt.truncated,
                text=hit.text if return_text else None,
            )
            for hit in ranking
        ]
        return Reranked(results=results, n_documents=ranking.n_documents)

    return server


_INSTRUCTIONS = (
    "Ranks English texts by how well they answer a query, with a small cross-encoder on this machine."
)
