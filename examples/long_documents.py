"""Find a long document by one of its sentences, and point at the place.

    python examples/long_documents.py

The three policies for documents longer than ``max_length``: ``truncate`` reads the beginning and says what it
did not read, ``window`` reads all of it in overlapping pieces and tells which piece won, ``refuse`` raises.
"""

from __future__ import annotations

from tinyrerank import Reranker
from tinyrerank.errors import TooLongError

QUERY = "how long should sourdough bread cool?"
FILLER = "The minutes of the meeting list who was there, what was said about the roof, and who paid. "
ANSWER = "Let sourdough bread cool for at least two hours before you cut it. "
DOCUMENTS = [FILLER * 120 + ANSWER + FILLER * 120, FILLER * 240]


def main() -> None:
    """Rank two long documents under each policy; only one holds the answer, in its middle."""
    with Reranker(max_length=256, overlap_tokens=64) as reranker:
        cut = reranker.rank(QUERY, DOCUMENTS, policy="truncate")
        for hit in cut:
            read, total = hit.receipt.tokens_read, hit.receipt.tokens_total
            print(f"truncate: document {hit.index}, {read} of {total} tokens")

        best = reranker.rank(QUERY, DOCUMENTS, policy="window")[0]
        start, end = best.receipt.span
        print(f"window:   document {best.index}, {best.receipt.windows} windows, the best is {start}-{end}:")
        print("         ", "…" + best.text[start:end][:60].strip() + "…", "holds the answer:", end=" ")
        print(ANSWER.strip() in best.text[start:end])

        try:
            reranker.rank(QUERY, DOCUMENTS, policy="refuse")
        except TooLongError as error:
            print(f"refuse:   document {error.index} needs {error.tokens} tokens, {error.limit} are allowed")


if __name__ == "__main__":
    main()
