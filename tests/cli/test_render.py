from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from tinyrerank.cli.inputs import Passage
from tinyrerank.cli.render import clean, columns, fit, row, snippet, table, wrap
from tinyrerank.progress import Progress
from tinyrerank.types import Hit, Ranking, Receipt

TEXT = st.text(st.sampled_from("ab 潮e\u0301\u200d🌊\x1b\n."))


def hit(text: str, *, read: int = 5, total: int = 5, windows: int = 1, span: tuple[int, int] = (0, 5)) -> Hit:
    return Hit(0, 0.0, text, text, Receipt(read, total, windows, span))


@given(TEXT, st.integers(1, 40))
def test_a_fitted_text_never_exceeds_its_width(text: str, width: int) -> None:
    assert columns(fit(clean(text), width)) <= width


@given(TEXT, st.integers(4, 40), st.integers(1, 3))
def test_wrapped_lines_fit_and_keep_every_word_until_the_cut(text: str, width: int, n_lines: int) -> None:
    text = clean(text)
    lines = wrap(text, width, n_lines)
    assert len(lines) <= n_lines
    assert all(columns(line) <= width for line in lines)
    if "…" not in "".join(lines):
        assert " ".join(lines) == text


@given(TEXT)
def test_what_is_shown_cannot_control_the_terminal(text: str) -> None:
    passage = Passage(text, "a\x1b.txt", 1, title=text, id=text)
    shown = "".join(table(Ranking("b", (hit(text),), 1), [passage], width=60, color=False))
    assert "\x1b" not in shown
    assert "\n" not in shown


def test_a_snippet_of_a_long_document_starts_where_the_query_is_answered() -> None:
    text = "Bread is baked. " * 20 + "Tides follow the moon. " + "More bread. " * 20
    assert snippet(hit(text), Passage(text, "a", 1), "how do tides follow?", 40).startswith(
        "… Tides follow the moon."
    )
    assert snippet(hit(text), Passage(text, "a", 1), "unrelated", 40).startswith("Bread is baked.")


def test_a_snippet_of_a_winning_window_shows_that_window() -> None:
    text = "Bread is baked. Tides rise."
    assert snippet(hit(text, windows=2, span=(16, 27)), Passage(text, "a", 1), "x", 80) == "Tides rise."


def test_a_span_counts_characters_of_the_text_without_its_title() -> None:
    scored = Hit(0, 0.0, {}, "Sea Tides rise.", Receipt(3, 5, 1, (0, 9)))
    assert row(1, scored, Passage("Tides rise.", "a", 1, title="Sea"))["span"] == [0, 5]


def test_progress_tells_the_time_left_from_this_run_alone() -> None:
    stream = io.StringIO()
    progress = Progress(10, "queries", done=90, stream=stream, every_s=0.0)
    progress.advance(5)
    assert progress.line(60.0) == "95 of 100 queries, 1 min 0 s gone, about 1 min 0 s left"
    progress.close()
    assert stream.getvalue().endswith("95 of 100 queries, 0 s\n")
