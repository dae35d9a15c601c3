"""The student's tokenizer has the official form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from toy import WORDS, word_piece

from conftest import TEXT
from tinyrerank.train.recipe import TokenizerRecipe
from tinyrerank.train.tokenizer import SPECIALS, train_tokenizer, whole_words

RECIPE = TokenizerRecipe(vocab_size=150, word_weight=5)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXT, RECIPE, ["moon", "zebra"])


@pytest.fixture(scope="module")
def raw(tokenizer: Tokenizer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    return found


def test_the_five_specials_have_their_numbers(tokenizer: Tokenizer, raw: dict[str, Any]) -> None:
    assert SPECIALS == ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    assert [tokenizer.token_to_id(s) for s in SPECIALS] == [0, 1, 2, 3, 4]
    added = {t["content"]: t for t in raw["added_tokens"]}
    assert list(added) == list(SPECIALS)
    for text, token in added.items():
        assert token["special"]
        assert not token["normalized"]
        assert token["lstrip"] == (text == "<mask>")


def test_text_is_composed_then_lower_cased_then_split_at_spaces_and_punctuation(
    tokenizer: Tokenizer, raw: dict[str, Any]
) -> None:
    assert [n["type"] for n in raw["normalizer"]["normalizers"]] == ["NFC", "Lowercase"]
    assert raw["pre_tokenizer"] == {"type": "Whitespace"}
    assert tokenizer.encode("MOON", add_special_tokens=False).tokens == ["moon"]
    assert tokenizer.encode("e\u0301", add_special_tokens=False).ids == tokenizer.encode("é").ids[1:-1]
    assert tokenizer.encode("moon  moon", add_special_tokens=False).tokens == ["moon", "moon"]
    assert tokenizer.encode("moon?moon", add_special_tokens=False).tokens == ["moon", "?", "moon"]


def test_the_model_is_a_character_bpe_without_prefixes(raw: dict[str, Any]) -> None:
    model = raw["model"]
    assert model["type"] == "BPE"
    assert model["unk_token"] == SPECIALS[3]
    assert not model["byte_fallback"]
    assert not model["fuse_unk"]
    assert model["continuing_subword_prefix"] in {None, ""}
    assert model["end_of_word_suffix"] in {None, ""}


def test_a_pair_is_framed_like_the_official_one_with_type_ids_of_zero(tokenizer: Tokenizer) -> None:
    moon, sea = (tokenizer.encode(w, add_special_tokens=False).ids for w in ("moon", "sea"))
    single, pair = tokenizer.encode("moon"), tokenizer.encode("moon", "sea")
    assert single.ids == [0, *moon, 2]
    assert pair.ids == [0, *moon, 2, 2, *sea, 2]
    assert set(pair.type_ids) == {0}


def test_offsets_cover_words_without_the_space_before_them(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("the moon").offsets[-2] == (4, 8)


def test_unknown_characters_are_unk_and_every_ascii_one_is_known(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("\u4e2d", add_special_tokens=False).ids == [3]
    ascii_text = " ".join(chr(c) for c in range(33, 127))
    assert 3 not in tokenizer.encode(ascii_text.replace("<", "< "), add_special_tokens=False).ids


def test_the_vocabulary_keeps_to_its_size(tokenizer: Tokenizer) -> None:
    assert tokenizer.get_vocab_size() <= 150
    assert sorted(tokenizer.get_vocab().values()) == list(range(tokenizer.get_vocab_size()))


def test_given_words_become_single_tokens_though_no_text_has_them(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_to_id("zebra") is not None
    without = train_tokenizer(TEXT, RECIPE)
    assert without.token_to_id("zebra") is None


def test_training_twice_gives_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    assert train_tokenizer(TEXT, RECIPE, ["moon", "zebra"]).to_str() == tokenizer.to_str()


def test_whole_words_of_a_word_piece_vocabulary_are_its_plain_words(tmp_path: Path) -> None:
    word_piece().save(str(tmp_path / "tokenizer.json"))
    assert sorted(whole_words(tmp_path / "tokenizer.json")) == sorted(WORDS)
