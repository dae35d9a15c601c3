"""What ``tinyrerank rank`` ranks by: the logit and, if asked, place in the list and likeness to the best."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinyrerank.errors import InputError
from tinyrerank.fusion import fuse_with_list
from tinyrerank.types import Document, Ranking

if TYPE_CHECKING:
    from tinyrerank import Reranker


def add_options(parser: argparse.ArgumentParser) -> None:
    """Register the options that an :class:`Order` is made from."""
    parser.add_argument(
        "-n", "--top-n", type=int, metavar="N", help="results a query (default: all; 10 in a table)"
    )
    parser.add_argument(
        "--list-weight",
        type=float,
        default=0.0,
        metavar="W",
        help="rank by logit and place in the list together, for documents in a retriever's order: 0.3 suits"
        " BM25, 1 retrievers that rank as well as the model or better (default: 0)",
    )
    parser.add_argument(
        "--likeness",
        type=float,
        default=0.0,
        metavar="W",
        help="lift documents that share rare words with the best ones, where queries have several answers; a"
        " good start is 0.1 (default: 0)",
    )


@dataclass(frozen=True, slots=True)
class Order:
    """How many results a query gets, and what orders them.

    Attributes:
        top_n: results, None for all.
        list_weight: of the place in the list, as in :func:`tinyrerank.fuse_with_list`.
        likeness: of the likeness to the best documents, likewise.
    """

    top_n: int | None
    list_weight: float
    likeness: float

    @classmethod
    def of(cls, args: argparse.Namespace) -> Order:
        """What the arguments ask for.

        Raises:
            InputError: a number is out of range.
        """
        if args.top_n is not None and args.top_n < 1:
            raise InputError(f"--top-n {args.top_n}: give 1 or more, or leave it out for all documents")
        for option, weight, good in (
            ("--list-weight", args.list_weight, 0.3),
            ("--likeness", args.likeness, 0.1),
        ):
            if not 0 <= weight < math.inf:
                raise InputError(f"{option} {weight:g}: give a number from 0, such as {good}")
        return cls(args.top_n, args.list_weight, args.likeness)

    def rank(self, reranker: Reranker, query: str, documents: Sequence[Document]) -> Ranking:
        """The best documents; with a weight, logits and scores are the joined ones."""
        if not (self.list_weight or self.likeness):
            return reranker.rank(query, documents, top_n=self.top_n)
        ranking = reranker.rank(query, documents)
        return fuse_with_list(ranking, self.list_weight, self.top_n, likeness=self.likeness)

    def settings(self) -> dict[str, Any]:
        """What results depend on; weights that are not asked for are left out."""
        weights = {"list_weight": self.list_weight, "likeness": self.likeness}
        return {"top_n": self.top_n} | {name: weight for name, weight in weights.items() if weight}
