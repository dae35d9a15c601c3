"""``tinyrerank mcp``: an MCP server on standard input and output, with one tool."""

from __future__ import annotations

import argparse
from typing import get_args

from tinyrerank.types import Policy

_DESCRIPTION = """\
Serve the tool `rerank` to an MCP client over standard input and output: it takes a query and texts and
says in which order the texts answer the query."""

_EPILOG = """\
A client starts the command itself. The usual entry in its settings:

  {"mcpServers": {"tinyrerank": {"command": "tinyrerank", "args": ["mcp"]}}}"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``mcp``."""
    parser = subparsers.add_parser(
        "mcp",
        help="serve one tool to MCP clients (extra: mcp)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", metavar="M", help="model folder or hub name (default: ours)")
    add("--engine", default="auto", help="auto, or one that `tinyrerank doctor` lists (default: auto)")
    add("--max-length", type=int, metavar="N", help="tokens of query and document (default: the model's)")
    add("--policy", choices=get_args(Policy), default="truncate", help="what happens to longer texts")
    add("--threads", type=int, metavar="N", help="threads (default: all cores this process may use)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until the client closes standard input."""
    from tinyrerank.integrations.mcp import build_server

    server = build_server(
        args.model,
        engine=args.engine,
        max_length=args.max_length,
        policy=args.policy,
        threads=args.threads,
    )
    server.run("stdio")
    return 0
