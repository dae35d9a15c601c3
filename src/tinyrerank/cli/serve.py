"""``tinyrerank serve``: the HTTP server."""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path

from tinyrerank.errors import MissingExtraError
from tinyrerank.serve.settings import Settings, given_settings, setting_fields

_DESCRIPTION = """\
Serve rerankers over HTTP. Clients of Jina, Cohere, text-embeddings-inference, vLLM, Infinity, Voyage,
Weaviate, Xinference and SiliconFlow speak to it as they are; each wire format also has a prefix of its own,
such as /cohere."""

_EPILOG = """\
Every setting is a flag, an environment variable (--max-queue-tokens is TINYRERANK_MAX_QUEUE_TOKENS) and a key
of the TOML file (max_queue_tokens); the first of these wins.

examples:
  tinyrerank serve
  tinyrerank serve --port 80 --host 0.0.0.0 --api-keys-file keys.txt
  tinyrerank serve --models mine=path/to/folder tinyrerank-tiny-en --aliases rerank-english-v3.0=mine
  curl http://127.0.0.1:8080/v1/rerank -H 'content-type: application/json' \\
    -d '{"query": "how do tides work?", "documents": ["The moon pulls.", "Bread rises."]}'"""

_LIBRARIES = ("starlette", "uvicorn", "httptools", "msgspec", "prometheus_client")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``serve`` with a flag for every field of the settings."""
    parser = subparsers.add_parser(
        "serve",
        help="answer over HTTP, in the wire format of every reranker client (extra: serve)",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file with settings")
    parser.add_argument(
        "--new-key",
        metavar="NAME",
        help="make an API key, print it with its line for api_keys_file, and stop",
    )
    for each in setting_fields():
        flag, about = "--" + each.name.replace("_", "-"), each.metadata["about"]
        if isinstance(each.default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=about)
        elif isinstance(each.default, tuple):
            parser.add_argument(flag, nargs="+", metavar="X", help=about)
        else:
            shown = "" if each.default is None else f" (default: {each.default})"
            parser.add_argument(flag, metavar="X", help=about + shown)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    if args.new_key is not None:
        return _new_key(args.new_key)
    names = [each.name for each in setting_fields()]
    given = given_settings({name: getattr(args, name) for name in names}, file=args.config)
    # Looked for, not imported: workers import prometheus_client after the fork, once its folder is set.
    if any(importlib.util.find_spec(library) is None for library in _LIBRARIES):
        raise MissingExtraError("the server", "serve")
    from tinyrerank.serve.sagemaker.container import container_settings
    from tinyrerank.serve.server import serve

    return serve(container_settings(Settings(**given), os.environ, given))


def _new_key(name: str) -> int:
    """Print a fresh key, which is kept nowhere, and the line that lets it in."""
    try:
        from tinyrerank.serve.auth import new_key
    except ModuleNotFoundError:
        raise MissingExtraError("the server", "serve") from None
    key, line = new_key(name)
    print(f"key, for the client (it is shown this once): {key}")
    print(f"line, for the file of the setting api_keys_file: {line}")
    return 0
