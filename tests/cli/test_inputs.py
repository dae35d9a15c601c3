from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyrerank.cli.inputs import Passage, Reading, json_lines, read_passages
from tinyrerank.cli.markdown import PASSAGE_CHARS, split_markdown
from tinyrerank.errors import DataError, InputError, TinyrerankError


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def read(path: str, **reading: str) -> list[Passage]:
    return read_passages([path], Reading(**reading))


def test_a_text_file_is_one_document_unless_asked_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "one\r\ntwo\n \n\nthree\n")
    assert [(p.text, p.line) for p in read(path)] == [("one\ntwo\n \n\nthree\n", 1)]
    assert [(p.text, p.line) for p in read(path, per="line")] == [("one", 1), ("two", 2), ("three", 5)]
    assert [(p.text, p.line) for p in read(path, per="paragraph")] == [("one\ntwo", 1), ("three", 5)]


def test_standard_input_is_a_document_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"tide\n\nbread\n")))
    assert [(p.text, p.where) for p in read("-")] == [("tide", "-:1"), ("bread", "-:3")]


def test_markdown_keeps_heading_and_line_of_each_passage(tmp_path: Path) -> None:
    text = (
        "---\ntitle: x\n---\nIntro.\n\n# Sea #\n\nTides\nrise.\n\n"
        "## Salt\n```\n# no heading\n```\nSetext\n===\nEnd.\n"
    )
    found = [(p.line, p.title, p.text) for p in read(write(tmp_path / "a.md", text))]
    assert found == [
        (4, None, "Intro."),
        (8, "Sea", "Tides\nrise."),
        (12, "Salt", "```\n# no heading\n```"),
        (17, "Setext", "End."),
    ]


def test_a_heading_with_nothing_under_it_is_still_found() -> None:
    assert list(split_markdown("# Plan\n## Buy yeast\n## Sell bread\n")) == [
        (2, None, "Buy yeast"),
        (3, None, "Sell bread"),
    ]


def test_markdown_is_read_by_paragraph_where_one_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.md", "# Tides\n\nThe moon pulls.\n\nThe sun helps.\n")
    assert [p.text for p in read(path)] == ["The moon pulls.\n\nThe sun helps."]
    found = [(p.text, p.line) for p in read(path, per="paragraph")]
    assert found == [("# Tides", 1), ("The moon pulls.", 3), ("The sun helps.", 5)]


def test_long_markdown_paragraphs_are_cut_between_sentences_and_short_ones_joined() -> None:
    sentence = "The tide rises when the moon pulls the sea toward it."
    passages = list(split_markdown("# T\n\n" + " ".join([sentence] * 60) + "\n\nShort.\n\nShorter.\n"))
    assert all(len(text) <= PASSAGE_CHARS for _, _, text in passages)
    assert all(text.startswith("The tide") for _, _, text in passages[:-1])
    assert passages[-1][2].endswith("Short.\n\nShorter.")


@given(
    st.lists(
        st.sampled_from(
            ["# H", "text. more", "", "```", "---", "    code", "- item", "x" * 2000, "y. " * 700]
        )
    )
)
def test_markdown_loses_no_words(lines: list[str]) -> None:
    text = "start\n" + "\n".join(lines)
    passages = list(split_markdown(text))
    kept = " ".join(f"{heading or ''} {passage}" for _, heading, passage in passages)
    for word in ("text.", "x" * 2000, "code", "item", "start"):
        assert (word in text) == (word in kept)
    all_lines = text.split("\n")
    for line, _, passage in passages:
        assert all_lines[line - 1].lstrip("# ").startswith(passage.split("\n")[0].strip()[:5])


def test_fields_of_jsonl_and_tables_can_be_named(tmp_path: Path) -> None:
    wanted = [("Tides rise.", "Sea", "7"), ("Yeast, too.", None, None)]
    jsonl = write(
        tmp_path / "a.jsonl",
        '\n{"body": "Tides rise.", "head": "Sea", "nr": 7}\n\n{"body": "Yeast, too.", "head": null}\n',
    )
    csv = write(tmp_path / "a.csv", '\ufeffnr,head,body\r\n7,Sea,Tides rise.\r\n,,"Yeast, too."\r\n')
    tsv = write(tmp_path / "a.tsv", "nr\thead\tbody\n7\tSea\tTides rise.\n\t\tYeast, too.\n")
    for path in (jsonl, csv, tsv):
        passages = read(path, text_field="body", title_field="head", id_field="nr")
        assert [(p.text, p.title, p.id) for p in passages] == wanted, path
    assert [p.line for p in read(jsonl, text_field="body")] == [2, 4]


def test_a_quoted_cell_may_span_lines_and_the_next_row_keeps_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'text,id\n"one\ntwo",a\nthree,b\n')
    assert [(p.text, p.line, p.id) for p in read(path)] == [("one\ntwo", 2, "a"), ("three", 4, "b")]


def test_a_double_quote_in_tsv_is_a_character(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", 'text\n"Tides" rise\n5\' 3" tall\n')
    assert [p.text for p in read(path)] == ['"Tides" rise', "5' 3\" tall"]


def test_folders_give_known_files_sorted_without_hidden_ones(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b/z.txt", "a.MD", ".git/x.txt", ".hidden.txt", "picture.png"):
        write(tmp_path / name, name)
    assert [p.text for p in read(str(tmp_path))] == ["a.MD", "b/z.txt"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b'{"text": "a"}\n' * 6 + b'{"text": "b"\n', ":7: not JSON"),
        ("a.jsonl", b'{"text": "a"}\n[1]\n', ":2: a JSON object is needed, not [1]"),
        ("a.jsonl", b'{"txt": "a"}\n', ":1: no 'text' (there: txt)"),
        ("a.jsonl", b'{"text": 5}\n', ":1: 'text' must be a string, not 5"),
        ("a.jsonl", b'{"text": "a", "title": [0]}\n', ":1: 'title' must be a string"),
        ("a.jsonl", b'{"text": "a", "id": 1.5}\n', ":1: 'id' must be a string or a whole number"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', ":2: not UTF-8 (byte 0xff)"),
        ("a.jsonl", b"[" * 100_000, ":1: JSON nested too deeply"),
        ("a.jsonl", b'{"text": "a", "n": ' + b"9" * 5000 + b"}", ":1: JSON that cannot be read"),
        ("a.csv", b"body\nx\n", ":1: no column 'text' (there: body)"),
        ("a.csv", b"text,id\nx,1\ny,2,3\n", ":3: 3 fields, but 2 in the header"),
        ("a.csv", b'text\n"open\n', "malformed row"),
        ("a.csv", b"", "empty"),
        ("a.txt", b"fine\nna\xefve\n", ":2: not UTF-8 (byte 0xef)"),
        ("a.txt", "tide".encode("utf-16"), "UTF-16"),
    ],
)
def test_malformed_files_end_in_one_line_with_file_and_line(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value).startswith(path)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sources_that_are_not_there_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        read(str(tmp_path / "absent.txt"))
    with pytest.raises(InputError, match=r"no file in this folder ends in \.txt"):
        read(str(tmp_path))


@given(st.binary(max_size=60), st.sampled_from([".txt", ".md", ".jsonl", ".csv", ".tsv"]))
def test_no_bytes_make_a_reader_fail_in_other_ways(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, ending: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"fuzz{ending}"
    path.write_bytes(data)
    with contextlib.suppress(TinyrerankError):
        assert all(p.line >= 1 for p in read(str(path)))


@given(st.lists(st.text(), min_size=1))
def test_any_text_survives_jsonl(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts), newline="\n")
    assert [record["text"] for _, record in json_lines(str(path))] == texts
