"""The folder's tokenizer.json, as it is: template, odd characters, files that will not do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from conftest import tiny_tokenizer
from tinyrerank.errors import ModelError
from tinyrerank.text.pairs import PairEncoder
from tinyrerank.text.tokenizer import TextTokenizer, ids_of, without_surrogates

ROOT = Path(__file__).parents[2]
OFFICIAL = ROOT.parent / "shared" / "official" / "jina-reranker-v1-tiny-en"
if "TINYRERANK_DATA" in os.environ:
    OFFICIAL = Path(os.environ["TINYRERANK_DATA"]).parent / "official" / "jina-reranker-v1-tiny-en"
official = pytest.mark.skipif(
    not (OFFICIAL / "tokenizer.json").is_file(),
    reason="the official tokenizer.json is not here (it lies beside the data folder, see TINYRERANK_DATA)",
)
TINY = TextTokenizer(tiny_tokenizer())
HIGH, LOW = chr(0xD83D), chr(0xDE00)


def pair_ids(tokenizer: TextTokenizer, query: str, document: str) -> list[int]:
    encoder = PairEncoder(tokenizer, max_length=8192)
    (packed,) = encoder.pack(encoder.encode([(query, document)]), max_tokens=10_000)
    assert packed.cu_seqlens.tolist() == [0, len(packed.ids)]
    ids: list[int] = packed.ids.tolist()
    return ids


@official
def test_the_documented_example_has_the_documented_ids() -> None:
    tokenizer = TextTokenizer.from_folder(OFFICIAL)
    assert pair_ids(tokenizer, "what is panda?", "hi") == [0, 21381, 21152, 49990, 61, 2, 2, 23233, 2]


@official
@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("", ""),
        ("", "empty query test"),
        ("The CAPITAL of France?", "Paris est la capitale; Cafe\u0301 d\u00e9j\u00e0 vu."),
        (
            "what does </s> mean",
            "<s> starts, </s> ends, <mask> hides, <pad> fills, <unk> is unknown </s></s>",
        ),
        ("  spaces\t", "\n\n many \u3000 kinds \x00 of \x1c nothing \u200b"),
        (
            "emoji \U0001f600?",
            "family \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001d15e \u1e9e \u0130stanbul",
        ),
        ("\u718a\u732b", "\u5927\u718a\u732b\u662f\u4e2d\u56fd\u7684\u56fd\u5b9d"),
    ],
)
def test_pairs_built_by_hand_equal_the_librarys(query: str, document: str) -> None:
    library = Tokenizer.from_file(str(OFFICIAL / "tokenizer.json"))
    library.no_truncation()
    assert (
        pair_ids(TextTokenizer.from_folder(OFFICIAL), query, document) == library.encode(query, document).ids
    )


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40), st.text(max_size=60))
def test_any_pair_equals_the_librarys(query: str, document: str) -> None:
    assert pair_ids(TINY, query, document) == tiny_tokenizer_pair(query, document)


_LIBRARY = tiny_tokenizer()


def tiny_tokenizer_pair(query: str, document: str) -> list[int]:
    ids: list[int] = _LIBRARY.encode(query, document).ids
    return ids


def test_a_lone_surrogate_is_read_as_the_replacement_character() -> None:
    (odd, even) = TINY.encode([f"tide {HIGH} moon", "tide \ufffd moon"])
    assert odd.ids == even.ids
    assert odd.offsets == even.offsets


@given(st.text(st.characters(codec=None, categories=None), max_size=20))
def test_replacing_surrogates_keeps_every_other_character_in_place(text: str) -> None:
    clean = without_surrogates(text)
    clean.encode()
    assert len(clean) == len(text)
    assert all(
        b == a or ("\ud800" <= a <= "\udfff" and b == "\ufffd") for a, b in zip(text, clean, strict=True)
    )


def test_a_pair_of_surrogates_is_two_characters_not_one() -> None:
    assert without_surrogates(HIGH + LOW) == "\ufffd\ufffd"


def test_empty_and_blank_texts_have_no_tokens() -> None:
    assert [len(encoding) for encoding in TINY.encode(["", " \t\n"])] == [0, 0]
    assert TINY.encode([]) == []
    assert ids_of(TINY.encode([""])[0]).shape == (0,)


def test_truncation_and_padding_in_the_file_are_not_obeyed(tmp_path: Path) -> None:
    limited = tiny_tokenizer()
    limited.enable_truncation(6)
    limited.enable_padding(length=6)
    limited.save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer.from_folder(tmp_path)
    assert pair_ids(tokenizer, "the moon", "the sea and the sun " * 3) == tiny_tokenizer_pair(
        "the moon", "the sea and the sun " * 3
    )
    assert len(tokenizer.encode(["a"])[0]) == 1


def test_the_template_is_read_off_any_post_processor() -> None:
    plain = tiny_tokenizer()
    plain.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    template = TextTokenizer(plain).template
    assert (template.before, template.between, template.after) == ((0,), (2,), (2,))
    assert len(template) == 3


def test_the_official_template_is_four_tokens() -> None:
    assert (TINY.template.before, TINY.template.between, TINY.template.after) == ((0,), (2, 2), (2,))


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tokenizer\.json here"):
        TextTokenizer.from_folder(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": "1.0", "model": {"type": "Nothing"}}'])
def test_a_broken_tokenizer_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match=r"tokenizer\.json: the tokenizers library cannot read it"):
        TextTokenizer.from_folder(tmp_path)


def test_a_tokenizer_without_a_pair_template_is_refused() -> None:
    bare = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(ModelError, match="adds no special tokens"):
        TextTokenizer(bare)


def test_a_tokenizer_that_puts_the_document_first_is_refused() -> None:
    swapped = tiny_tokenizer()
    swapped.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $B </s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    with pytest.raises(ModelError, match="query, then document"):
        TextTokenizer(swapped)


def test_a_tokenizer_with_token_types_is_refused() -> None:
    bert = tiny_tokenizer()
    bert.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 0))
    with pytest.raises(ModelError, match="token type"):
        TextTokenizer(bert)
