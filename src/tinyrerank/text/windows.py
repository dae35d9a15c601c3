"""Overlapping windows over the tokens of a long document, and the characters they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinyrerank.text.plain import Tokens

if TYPE_CHECKING:
    from tokenizers import Encoding


def windows(n_tokens: int, room: int, overlap: int) -> list[tuple[int, int]]:
    """Cover ``n_tokens`` tokens with windows of at most ``room``.

    Neighbours share ``overlap`` tokens, but never more than half a window. The last window is moved back so
    that it is full, too: a short rest would be judged out of context.

    Args:
        n_tokens: tokens of the document, from 0.
        room: tokens that fit in a window, from 1.
        overlap: tokens that neighbours should share, from 0.

    Returns:
        Token ranges ``(start, end)`` in order, at least one; together they cover every token.

    Example:
        >>> windows(10, 4, 1)
        [(0, 4), (3, 7), (6, 10)]
        >>> windows(9, 4, 1)
        [(0, 4), (3, 7), (5, 9)]
        >>> windows(3, 4, 1)
        [(0, 3)]
    """
    if n_tokens <= room:
        return [(0, n_tokens)]
    step = room - min(overlap, room // 2)
    last = n_tokens - room
    return [(start, start + room) for start in [*range(0, last, step), last]]


def char_span(text: str, encoding: Encoding | Tokens, start: int, end: int) -> tuple[int, int]:
    """Characters that tokens ``start`` to ``end`` of a text stand for.

    The first token reaches back to the beginning of the text and the last one to its end; elsewhere the span
    ends before the space that precedes the next token. Characters between two tokens other than spaces (a
    combining mark that the normalizer merged into its letter) belong to the token before them.

    Args:
        text: the text that was tokenized.
        encoding: its tokens; three of them are asked for their place, so long texts cost no more.
        start: first token.
        end: one past the last token, above ``start``.
    """
    first_char = _chars(encoding, start)[0] if start > 0 else 0
    if end == len(encoding):
        return first_char, len(text)
    read_to = _chars(encoding, end - 1)[1]
    last_char = max(read_to, _chars(encoding, end)[0])
    while last_char > read_to and text[last_char - 1].isspace():
        last_char -= 1
    return first_char, last_char


def _chars(encoding: Encoding | Tokens, token: int) -> tuple[int, int]:
    """Characters of one token, without the list of all that ``encoding.offsets`` would make."""
    chars = encoding.token_to_chars(token)
    if chars is None:
        raise IndexError(f"token {token} of {len(encoding)}")
    return chars
