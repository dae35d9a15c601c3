"""Trains the student's tokenizer in the official form: NFC, lower case, character BPE, RoBERTa template."""

from __future__ import annotations

import json
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from tinyrerank.train.recipe import TokenizerRecipe

SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def train_tokenizer(texts: Iterable[str], recipe: TokenizerRecipe, words: Iterable[str] = ()) -> Tokenizer:
    """Learn merges from texts.

    Args:
        texts: what the model will read.
        recipe: size of the vocabulary.
        words: words that should become single tokens even where the texts have few of them, such as the
            vocabulary of the model that the student starts from; each counts ``recipe.word_weight`` times.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106 - a token of text, not a password
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        min_frequency=2,
        limit_alphabet=1200,
        initial_alphabet=list(string.ascii_lowercase + string.digits + string.punctuation),
        special_tokens=[
            AddedToken(s, lstrip=s == "<mask>", normalized=False, special=True) for s in SPECIALS
        ],
        show_progress=False,
    )
    boosted = [word for word in words for _ in range(recipe.word_weight)]
    tokenizer.train_from_iterator(_chain(texts, boosted), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", SPECIALS.index("</s>")),
        ("<s>", SPECIALS.index("<s>")),
        trim_offsets=True,
        add_prefix_space=False,
    )
    return tokenizer


def whole_words(tokenizer_json: Path) -> list[str]:
    """The whole words (two letters or more, no word pieces) of a WordPiece vocabulary."""
    vocab = json.loads(tokenizer_json.read_text(encoding="utf-8"))["model"]["vocab"]
    return [w for w in vocab if len(w) > 1 and w.isalpha() and w.isascii()]


def _chain(*parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        yield from part
