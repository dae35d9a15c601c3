"""``tinyrerank export``: a model as an ONNX file, for products that run such files themselves."""

from __future__ import annotations

import argparse
from pathlib import Path

_DESCRIPTION = """\
Write a model as model.onnx (inputs input_ids and attention_mask, output logits; float32) with a
tokenizer.json that gives bare tokens, for products that run ONNX files themselves, such as Vespa. To rank
with Python, the model folder is enough."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register ``export``."""
    parser = subparsers.add_parser(
        "export",
        help="write a model as an ONNX file for other products",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", metavar="M", help="model folder or hub name (default: ours)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the two files")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the files and print their paths."""
    from tinyrerank.engine.onnx_file import write_onnx
    from tinyrerank.model.hub import resolve_model

    for path in write_onnx(resolve_model(args.model), args.out):
        print(path)
    return 0
