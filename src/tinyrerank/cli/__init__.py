"""The command line: ``tinyrerank COMMAND …``; one module per command.

A command module has ``add_parser(subparsers)``, which registers its arguments and sets ``run`` as their
default, and ``run(args) -> int``, the exit code. Modules import light; numpy, engines and the like load
inside ``run``. Results go to standard output, everything else to standard error. Exit codes are those of
:mod:`tinyrerank.errors`.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence

from tinyrerank import __version__
from tinyrerank.cli import (
    bench,
    compare,
    doctor,
    evaluate,
    evaluate_rag,
    export,
    finetune,
    mcp,
    rank,
    sagemaker,
    serve,
    train,
)
from tinyrerank.errors import DataError, TinyrerankError

__all__ = ["build_parser", "main"]

COMMANDS = (
    rank,
    serve,
    mcp,
    sagemaker,
    evaluate,
    evaluate_rag,
    compare,
    finetune,
    train,
    export,
    bench,
    doctor,
)
#: Two words that users write for one command.
_TWO_WORDS = {("evaluate", "rag"): "evaluate-rag"}

_INTERRUPTED = 130  # 128 + SIGINT
_BROKEN_PIPE = 141  # 128 + SIGPIPE, as other filters end under `| head`


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line, every command registered."""
    parser = argparse.ArgumentParser(
        prog="tinyrerank",
        description="Rank documents by how well they answer a query. Offline, and nothing is cut in silence.",
        epilog="`tinyrerank COMMAND --help` explains a command with examples. Start with: tinyrerank doctor",
    )
    parser.add_argument("--version", action="version", version=f"tinyrerank {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add_parser(subparsers)
    for each in (parser, *subparsers.choices.values()):
        each.add_argument(
            "--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error"
        )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: arguments without the program name; None takes those of the process.

    Raises:
        SystemExit: from argparse: 0 after ``--help`` and ``--version``, 2 for arguments it cannot read.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if tuple(argv[:2]) in _TWO_WORDS:
        argv[:2] = [_TWO_WORDS[argv[0], argv[1]]]
    args = build_parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Files and pipes get UTF-8 everywhere; what a terminal cannot show is escaped, not an error.
        sys.stdout.reconfigure(encoding=None if sys.stdout.isatty() else "utf-8", errors="backslashreplace")
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; the flush at interpreter exit must not complain about it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        _say("interrupted")
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place that can turn a failure into one line
        if getattr(args, "debug", False):
            traceback.print_exc()
        return _report(error)
    return code


def _report(error: Exception) -> int:
    """Say what went wrong in one line and return its exit code."""
    if isinstance(error, TinyrerankError):
        _say(f"error: {error}")
        return error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        _say(f"error: {error.filename}: {error.strerror}")
        return DataError.exit_code
    _say(
        f"error: unexpected {type(error).__name__}: {error}. Please report this, together with the output of"
        " the same command with --debug and of `tinyrerank doctor`"
    )
    return 1


def _say(message: str) -> None:
    print("tinyrerank: " + " ".join(message.split()), file=sys.stderr)
