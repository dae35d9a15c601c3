"""Two tokenizers see the same words; the student's states come closer to the teacher's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import word_piece

from conftest import TEXT, TINY, random_weights, tiny_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch import device as Device  # noqa: N812 - a type

torch = pytest.importorskip("torch", reason="training needs the train extra")

from tinyrerank.model.jinabert import JinaBert  # noqa: E402
from tinyrerank.train.hidden import _WORD, AlignedText, distill_hidden  # noqa: E402
from tinyrerank.train.recipe import StageRecipe  # noqa: E402
from tinyrerank.train.tokens import Template  # noqa: E402

CPU = torch.device("cpu")
STUDENT, TEACHER = Template(), Template(2, (3,), 3, 0)
characters = st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"])
texts = st.text(st.sampled_from("abc Tide!?.,-_ é中1\n") | characters, max_size=60)


@given(found=st.lists(texts, min_size=1, max_size=4), data=st.data())
@settings(max_examples=60, deadline=None)
def test_words_align_under_two_tokenizers(found: list[str], data: st.DataObject) -> None:
    tokenizers = [tiny_tokenizer(), word_piece()]
    text = AlignedText(found, tokenizers, CPU)
    words = [_WORD.findall(t) for t in found]
    assert text.counts.tolist() == [len(w) for w in words]
    rows = [n for n, w in enumerate(words) if len(w) > 1]
    if not rows:
        return
    start = text.starts[rows]
    split = start + torch.tensor([data.draw(st.integers(1, len(words[n]) - 1)) for n in rows])
    for tokenizer, side, template in zip(tokenizers, text.sides, (STUDENT, TEACHER), strict=True):
        batch = side.batch(start, split, start + text.counts[rows], template)
        for row, n in enumerate(rows):
            tokens: list[tuple[int, int]] = [(template.start, -1)]
            cut = int(split[row] - start[row])
            for k, word in enumerate(words[n]):
                if k == cut:
                    tokens += [(special, -1) for special in template.middle]
                tokens += [(i, k) for i in tokenizer.encode(word, add_special_tokens=False).ids]
            tokens.append((template.end, -1))
            kept = batch.mask[row]
            pairs = zip(batch.ids[row][kept].tolist(), batch.word[row][kept].tolist(), strict=True)
            assert list(pairs) == tokens
            assert (batch.word[row][~kept] == -1).all()


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("text", TEXT)
def test_words_one_by_one_give_the_tokens_of_the_whole_text(text: str, side: int) -> None:
    tokenizer = (tiny_tokenizer(), word_piece())[side]
    aligned = AlignedText([text], [tokenizer], CPU)
    assert aligned.sides[0].ids.tolist() == tokenizer.encode(text, add_special_tokens=False).ids


def test_word_means_are_means_over_each_words_tokens() -> None:
    text = AlignedText(TEXT, [tiny_tokenizer()], CPU)
    start, n = text.starts, text.counts
    batch = text.sides[0].batch(start, start + 1, start + n, STUDENT)
    states = torch.randn(*batch.ids.shape, 3)
    n_words = int(n.max())
    means, count = batch.word_means(states, n_words)
    for row in range(len(TEXT)):
        for word in range(n_words):
            at = (batch.word[row] == word).nonzero().flatten()
            assert int(count[row * n_words + word]) == len(at)
            expected = states[row, at].mean(0) if len(at) else torch.zeros(3)
            torch.testing.assert_close(means[row * n_words + word], expected)


class ToyTeacher:
    """A JinaBert that answers like an encoder of the transformers library."""

    def __init__(self, model: JinaBert) -> None:
        self.model = model
        self.config = SimpleNamespace(num_hidden_layers=model.config.n_layers)

    def to(self, device: Device) -> ToyTeacher:
        self.model.to(device)
        return self

    def __call__(
        self, *, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool
    ) -> SimpleNamespace:
        assert output_hidden_states
        return SimpleNamespace(hidden_states=self.model.hidden_states(input_ids, attention_mask))


def test_distillation_brings_states_closer_to_the_teachers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = replace(TINY, n_layers=2, hidden_dropout=0.0)
    teacher = JinaBert.from_weights(random_weights(replace(config, n_layers=4), seed=1))
    student = JinaBert.from_weights(random_weights(config, seed=2))
    tokenizer = tiny_tokenizer()
    text = AlignedText(TEXT * 8, [tokenizer, tokenizer], CPU)
    recipe = StageRecipe(
        steps=60, tokens=256, micro_tokens=128, learning_rate=1e-2, max_length=24, average=0.9
    )
    ids = torch.tensor([tokenizer.encode("the tide rises", "the moon pulls the sea").ids])

    def distances() -> tuple[float, float]:
        """Of the middle and the last layer."""
        with torch.no_grad():
            ours, theirs = student.hidden_states(ids), teacher.hidden_states(ids)
        return float(((ours[1] - theirs[2]) ** 2).mean()), float(((ours[2] - theirs[4]) ** 2).mean())

    before = distances()
    frozen = {name: t.clone() for name, t in teacher.state_dict().items()}
    loss = distill_hidden(
        student, ToyTeacher(teacher), (STUDENT, STUDENT), text, recipe, tmp_path, "key", 0, [1, 3]
    )
    after = distances()
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.7 * before[1]
    assert loss < 0.5 * before[0] + before[1]
    assert not student.training
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, frozen[name]), name


def test_a_run_that_was_broken_off_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    text = AlignedText(TEXT * 8, [tokenizer, tokenizer], CPU)
    recipe = StageRecipe(
        steps=12, tokens=256, micro_tokens=10_000, learning_rate=1e-2, max_length=24, average=0.9
    )

    class Breaking(ToyTeacher):
        """Is interrupted at a given call."""

        calls = 0

        def __init__(self, break_at: int) -> None:
            super().__init__(JinaBert.from_weights(random_weights(replace(TINY, n_layers=4), seed=1)))
            self.break_at = break_at

        def __call__(self, **inputs: Any) -> SimpleNamespace:
            self.calls += 1
            if self.calls == self.break_at:
                raise KeyboardInterrupt
            return super().__call__(**inputs)

    def trained(folder: Path, break_at: int = 0) -> dict[str, Tensor]:
        student = JinaBert.from_weights(random_weights(replace(TINY, hidden_dropout=0.2), seed=2))
        templates = (STUDENT, STUDENT)
        distill_hidden(student, Breaking(break_at), templates, text, recipe, folder, "key", 0, [1, 3])
        return dict(student.state_dict())

    unbroken = trained(tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "broken", break_at=6)
    for name, tensor in trained(tmp_path / "broken").items():
        assert torch.equal(tensor, unbroken[name]), name
