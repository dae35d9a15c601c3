"""The fast lane gives the library's tokens and places, or is not sure; bad files do not crash it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

import tinyrerank
from conftest import SPECIALS, tiny_tokenizer
from tinyrerank.errors import ModelError
from tinyrerank.text.plain import PlainBpe
from tinyrerank.text.tokenizer import TextTokenizer

pytest.importorskip("tinyrerank.text._bpe", reason="the fast lane is not built here", exc_type=ImportError)

EMBEDDED = Path(tinyrerank.__file__).parent / "weights" / "tiny-en" / "tokenizer.json"
# Dashes, quotation marks, daggers, bullet, ellipsis, euro.
TYPOGRAPHY = [chr(c) for c in (*range(0x2012, 0x2023), 0x2026, 0x20AC)]
WORDS = st.sampled_from(
    ["the", "Moon", "pulls", "ÉCOLE", "naïve", "x2", "can't", "…", "--", "“a”", "\t", "\xa0", "_"]
)
PLAIN = st.text(st.characters(max_codepoint=0x17F) | st.sampled_from(TYPOGRAPHY), max_size=60)
TEXTS = PLAIN | st.lists(WORDS, max_size=40).map(" ".join) | st.text(max_size=30)


def lane(tokenizer: Tokenizer, folder: Path) -> PlainBpe | None:
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return PlainBpe.from_file(path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[PlainBpe, Tokenizer]:
    tokenizer = tiny_tokenizer()
    plain = lane(tokenizer, tmp_path_factory.mktemp("plain"))
    assert plain is not None
    return plain, tokenizer


@pytest.fixture(scope="module")
def embedded() -> tuple[PlainBpe, Tokenizer]:
    if not EMBEDDED.exists():
        pytest.skip("no weights embedded in this checkout")
    plain = PlainBpe.from_file(EMBEDDED)
    assert plain is not None
    return plain, Tokenizer.from_file(str(EMBEDDED))


def expect_equal(pair: tuple[PlainBpe, Tokenizer], text: str) -> bool:
    """Compare both on one text; whether the lane was sure."""
    plain, library = pair
    (found,) = plain.encode([text])
    if found is None:
        return False
    expected = library.encode(text, add_special_tokens=False)
    assert found.ids.tolist() == expected.ids
    assert found.offsets == expected.offsets
    for token in range(-1, len(expected) + 1):
        inside = 0 <= token < len(expected)
        assert found.token_to_chars(token) == (expected.token_to_chars(token) if inside else None)
    return True


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_tokens_and_places_are_the_librarys(tiny: tuple[PlainBpe, Tokenizer], text: str) -> None:
    sure = expect_equal(tiny, text)
    assert sure or not text.isascii() or any(special in text for special in SPECIALS)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_so_they_are_with_the_embedded_tokenizer(embedded: tuple[PlainBpe, Tokenizer], text: str) -> None:
    expect_equal(embedded, text)


def test_every_sure_character_is_read_as_the_library_reads_it(embedded: tuple[PlainBpe, Tokenizer]) -> None:
    sure = [c for c in map(chr, range(0x2200)) if expect_equal(embedded, f"a{c}a {c} {c}{c}a-{c}-")]
    assert 0x80 + 60 < len(sure) < 300
    assert {"\u2019", "—", "é", "É", "€"} <= set(sure)
    assert not {"\u017f", "İ", "Σ", "\u0301", "µ", "\u2000", "\u212b"} & set(sure)


def test_very_long_words_go_to_the_library(embedded: tuple[PlainBpe, Tokenizer]) -> None:
    assert expect_equal(embedded, "ab" * 256)
    assert not expect_equal(embedded, "ab" * 257)


@pytest.mark.parametrize("text", ["", " ", "<s> and </s>", "a <mask>", "日本", "e\u0301"])
def test_a_tokenizer_answers_alike_with_and_without_the_lane(text: str, tmp_path: Path) -> None:
    library = tiny_tokenizer()
    library.save(str(tmp_path / "tokenizer.json"))
    both = (TextTokenizer.from_folder(tmp_path), TextTokenizer(library))
    batch = ["plain", text, "the moon"]
    (fast, slow) = ([list(e.ids) for e in tokenizer.encode(batch)] for tokenizer in both)
    assert fast == slow
    assert both[0].template == both[1].template
    assert both[0].vocab_size == both[1].vocab_size


CHANGES: dict[str, Any] = {
    "normalizer": {"type": "NFKC"},
    "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": None,
    "model.dropout": 0.1,
    "model.fuse_unk": True,
    "model.byte_fallback": True,
    "model.ignore_merges": True,
    "model.unk_token": "missing",
    "model.end_of_word_suffix": "</w>",
    "model.new_setting": 1,
    "added_tokens": [{"id": 5, "content": "moon", "normalized": True}],
}


@pytest.mark.parametrize("key", CHANGES)
def test_other_kinds_of_tokenizer_are_left_to_the_library(key: str, tmp_path: Path) -> None:
    raw = json.loads(tiny_tokenizer().to_str())
    part, _, name = key.rpartition(".")
    (raw[part] if part else raw)[name] = CHANGES[key]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    assert PlainBpe.from_file(path) is None


def test_merges_may_be_written_as_strings(tmp_path: Path, tiny: tuple[PlainBpe, Tokenizer]) -> None:
    raw = json.loads(tiny[1].to_str())
    raw["model"]["merges"] = [" ".join(pair) for pair in raw["model"]["merges"]]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    plain = PlainBpe.from_file(path)
    assert plain is not None
    assert expect_equal((plain, tiny[1]), "The tide rises when the moon pulls.")


@settings(max_examples=300, deadline=None)
@given(at=st.floats(0, 1), change=st.binary(max_size=4), cut=st.booleans())
def test_a_damaged_file_is_read_or_refused(
    at: float, change: bytes, cut: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sound = tiny_tokenizer().to_str().encode()
    place = int(at * len(sound))
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(sound[:place] + change + (b"" if cut else sound[place + len(change) :]))
    plain = PlainBpe.from_file(path)
    if plain is not None:
        plain.encode(["The tide rises when the moon pulls the sea toward it."])


def test_what_neither_can_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 0}, "merges": []}}', "utf-8")
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        TextTokenizer.from_folder(tmp_path)
