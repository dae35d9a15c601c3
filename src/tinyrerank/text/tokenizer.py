"""The model folder's own ``tokenizer.json``, run by the ``tokenizers`` library or its fast lane.

The file is loaded directly, never by the class name in ``tokenizer_config.json``: rebuilding the official
tokenizer by its class drops the normalizer and gives other ids for capitals and accents.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import ModelError
from tinyrerank.text.plain import PlainBpe, Tokens

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """The special ids around a pair; officially ``<s> query </s></s> document </s>``.

    Attributes:
        before: ids before the query.
        between: ids between query and document.
        after: ids after the document.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]

    def __len__(self) -> int:
        """How many special ids a pair carries."""
        return len(self.before) + len(self.between) + len(self.after)


class TextTokenizer:
    """Token ids and character offsets of plain text, without special ids, truncation or padding.

    Text is taken as it is: NUL bytes, emoji and whitespace go to the tokenizer, empty text has no tokens, and
    the names of special tokens inside the text become those tokens, as in the official pipeline. A lone
    surrogate, which no tokenizer accepts, is read as U+FFFD, one for one, so that character positions hold.
    Safe to use from several threads.

    Attributes:
        template: the special ids that the tokenizer's post-processor puts around a pair.
        vocab_size: number of ids, added tokens included.
    """

    template: PairTemplate
    vocab_size: int

    def __init__(self, tokenizer: Tokenizer, where: str = "tokenizer") -> None:
        self._plain: PlainBpe | None = None
        self._library: Tokenizer | None = _unlimited(tokenizer)
        self._lock = threading.Lock()
        self._path = Path(where)
        self.template = _pair_template(tokenizer, where)
        self.vocab_size = tokenizer.get_vocab_size(with_added_tokens=True)

    @classmethod
    def from_folder(cls, folder: str | Path) -> TextTokenizer:
        """Load ``folder/tokenizer.json``.

        The library is loaded only when a text needs it, if plain texts can do without; see
        :mod:`tinyrerank.text.plain`.

        Raises:
            ModelError: the file is missing, unreadable, or describes no pair of texts.
        """
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise ModelError(
                f"{folder}: no tokenizer.json here; a model folder needs one (vocab files do not do)"
            )
        plain = PlainBpe.from_file(path)
        if plain is None:
            return cls(_read(path), str(path))
        self = cls.__new__(cls)
        self._plain, self._library, self._lock, self._path = plain, None, threading.Lock(), path
        self.template = PairTemplate(plain.before, plain.between, plain.after)
        self.vocab_size = plain.vocab_size
        return self

    def encode(self, texts: Sequence[str]) -> list[Encoding | Tokens]:
        """One encoding a text; its ``ids`` and places (in characters) are made when they are read."""
        sound = [without_surrogates(text) for text in texts]
        found: list[Encoding | Tokens | None] = [None] * len(sound)
        if self._plain is not None:
            found[:] = self._plain.encode(sound)
        rest = [i for i, encoding in enumerate(found) if encoding is None]
        if rest:
            # encode_batch, not encode_batch_fast: offsets cost 0.2 of 1.2 microseconds a token, less than
            # encoding a document that must be cut a second time, and nothing beside the model's work.
            encodings = self._whole().encode_batch([sound[i] for i in rest], add_special_tokens=False)
            for i, encoding in zip(rest, encodings, strict=True):
                found[i] = encoding
        return [encoding for encoding in found if encoding is not None]

    def _whole(self) -> Tokenizer:
        """The library's tokenizer, loaded when it is first needed."""
        with self._lock:
            if self._library is None:
                self._library = _unlimited(_read(self._path))
            return self._library


def _read(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer  # not at the top: plain texts do without

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise ModelError(f"{path}: the tokenizers library cannot read it ({error})") from None


def _unlimited(tokenizer: Tokenizer) -> Tokenizer:
    """The same without limits: some files carry one of 512, or padding; pairs are built by hand here."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def without_surrogates(text: str) -> str:
    """The text with every lone surrogate replaced by U+FFFD; its length does not change.

    Example:
        >>> without_surrogates("a" + chr(0xD800) + "b") == "a" + chr(0xFFFD) + "b"
        True
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def ids_of(encoding: Encoding | Tokens, start: int = 0, end: int | None = None) -> NDArray[np.int32]:
    """Token ids of an encoding, or of a part of it, shape (tokens,)."""
    return np.array(encoding.ids[start:end], dtype=np.int32)


def _pair_template(tokenizer: Tokenizer, where: str) -> PairTemplate:
    """Read the template off the encoding of a probe pair, whatever post-processor made it."""
    encoding = tokenizer.encode("a", "b")
    owners = encoding.sequence_ids
    query = [i for i, owner in enumerate(owners) if owner == 0]
    document = [i for i, owner in enumerate(owners) if owner == 1]
    if not query or not document or query[-1] > document[0]:
        raise ModelError(
            f"{where}: it does not encode a pair as query, then document; use the model's own tokenizer"
        )
    ids = encoding.ids
    template = PairTemplate(
        before=tuple(ids[: query[0]]),
        between=tuple(ids[query[-1] + 1 : document[0]]),
        after=tuple(ids[document[-1] + 1 :]),
    )
    if not template.before or not template.between:
        raise ModelError(
            f"{where}: its post-processor adds no special tokens around a pair; the model needs them"
        )
    if any(encoding.type_ids):
        raise ModelError(
            f"{where}: it gives documents token type 1; only tokenizers with token type 0 throughout fit"
        )
    return template
