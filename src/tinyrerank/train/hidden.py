"""Hidden-state distillation on plain text: heals the change of positions, layers and tokenizer.

The student reads the same text as the encoder it started from, each with its own tokenizer, cut at a random
word into a pair as a reranker would see it. For every word, the mean of the student's states should equal the
mean of the teacher's: a signal for every token (after TinyBERT, Jiao et al. 2020, arXiv 1909.10351).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from tinyrerank.model.jinabert import JinaBert
from tinyrerank.train.encoders import autocast
from tinyrerank.train.optim import Order, Stage, seed_step
from tinyrerank.train.recipe import StageRecipe
from tinyrerank.train.tokens import Template, by_length, encode, join

_WORD = re.compile(r"\w+|[^\w\s]+")


class AlignedText:
    """Texts as words, and each word's tokens under two tokenizers.

    Both tokenizers work within words, so that encoding every distinct word once is enough.
    """

    def __init__(self, texts: Sequence[str], tokenizers: Sequence[Tokenizer], device: torch.device) -> None:
        vocabulary: dict[str, int] = {}
        words, counts = [], []
        for text in texts:
            found = [vocabulary.setdefault(w, len(vocabulary)) for w in _WORD.findall(text)]
            words.append(np.asarray(found, dtype=np.int64))
            counts.append(len(found))
        flat = np.concatenate(words)
        self.counts = torch.tensor(counts, device=device)
        self.starts = torch.cat([torch.zeros(1, dtype=torch.int64), torch.tensor(counts).cumsum(0)[:-1]]).to(
            device
        )
        self.sides = [_Side(flat, list(vocabulary), tokenizer, device) for tokenizer in tokenizers]


class _Side:
    """Tokens of a stream of words under one tokenizer."""

    def __init__(
        self, stream: NDArray[np.int64], vocabulary: list[str], tokenizer: Tokenizer, device: torch.device
    ) -> None:
        table = encode(tokenizer, vocabulary)
        lengths = table.lengths[stream]
        cumulative = np.concatenate([[0], np.cumsum(lengths)])
        within = np.arange(cumulative[-1]) - np.repeat(cumulative[:-1], lengths)
        ids = table.ids[np.repeat(table.offsets[stream], lengths) + within]
        self.ids = torch.from_numpy(ids).to(device)
        self.at_word = torch.from_numpy(cumulative).to(device)
        self.word = torch.from_numpy(np.repeat(np.arange(len(stream)), lengths)).to(device)

    def batch(self, start: Tensor, split: Tensor, stop: Tensor, template: Template) -> _Batch:
        """Pairs of words start..split and split..stop (positions in the stream), (B,) each."""
        a, b, c = self.at_word[start], self.at_word[split], self.at_word[stop]
        ids, mask = join(template, (self.ids, a, b - a), (self.ids, b, c - b))
        blank = Template(-1, (-1,) * len(template.middle), -1, -1)
        word, _ = join(blank, (self.word, a, b - a), (self.word, b, c - b))
        return _Batch(ids, mask, torch.where(word >= 0, word - start[:, None], -1))


class _Batch:
    """Ids, mask and the word that each token belongs to (-1 at specials), (B, T) each."""

    def __init__(self, ids: Tensor, mask: Tensor, word: Tensor) -> None:
        self.ids, self.mask, self.word = ids, mask, word

    def word_means(self, states: Tensor, n_words: int) -> tuple[Tensor, Tensor]:
        """States (B, T, H) averaged by word: (B * n_words, H), and the tokens in each, (B * n_words,)."""
        row = torch.arange(len(self.word), device=states.device)[:, None] * n_words
        inside = self.word >= 0
        slot = (row + self.word)[inside]
        total = torch.zeros(len(self.word) * n_words, states.shape[-1], device=states.device)
        total = total.index_add(0, slot, states.float()[inside])
        count = torch.zeros(len(total), device=states.device).index_add(
            0, slot, torch.ones(len(slot), device=states.device)
        )
        return total / count.clamp(min=1)[:, None], count


def distill_hidden(
    model: JinaBert,
    teacher: Any,  # noqa: ANN401 - a transformers model
    templates: tuple[Template, Template],
    text: AlignedText,
    recipe: StageRecipe,
    folder: Path,
    key: str,
    seed: int,
    layers: list[int],
) -> float:
    """Train the student's states towards the teacher's.

    Args:
        model: the student, on the training device.
        teacher: the encoder it started from.
        templates: special tokens of student and teacher.
        text: training texts under the student's and the teacher's tokenizer, in this order.
        recipe: the stage.
        folder: for checkpoints.
        key: what the checkpoints belong to.
        seed: for sampling.
        layers: which teacher layer each student layer came from; a middle layer and the last are matched.

    Returns:
        The running loss at the end.
    """
    device = next(model.parameters()).device
    teacher = teacher.to(device)
    stage = Stage(model, recipe, folder, key)
    stage.resume()
    n_teacher = teacher.config.num_hidden_layers
    middle = model.config.n_layers // 2
    matched = [(middle, layers[middle - 1] + 1, 0.5), (model.config.n_layers, n_teacher, 1.0)]
    progress = stage.progress("hidden states")
    running = float("nan")
    mean_words = float(text.counts.float().mean())
    size = max(1, int(recipe.tokens / min(mean_words * 1.3, recipe.max_length)))
    order = Order(len(text.counts), size, seed)
    model.train()
    with stage.kept_on_interrupt():
        while stage.fraction < 1:
            seed_step(seed, stage.step)
            rows = torch.from_numpy(order.rows(stage.step)).to(device)
            loss = _step(model, teacher, templates, text, rows, recipe, matched)
            stage.update()
            running = float(loss)
            stage.show(progress, f"loss {running:.4f}")
            stage.save_when_due()
    stage.finish()
    model.eval()
    progress.close(f"loss {running:.4f}")
    return running


def _step(
    model: JinaBert,
    teacher: Any,  # noqa: ANN401 - a transformers model
    templates: tuple[Template, Template],
    text: AlignedText,
    rows: Tensor,
    recipe: StageRecipe,
    matched: list[tuple[int, int, float]],
) -> Tensor:
    most = int(recipe.max_length / 1.4)
    rows = rows[text.counts[rows] > 4]
    n = text.counts[rows].clamp(max=most)
    start = (
        text.starts[rows] + (torch.rand(len(rows), device=rows.device) * (text.counts[rows] - n + 1)).long()
    )
    # A pair begins with few words (a query) or many (an argument).
    split = start + 1 + (torch.rand(len(rows), device=rows.device) ** 2 * (n - 2)).long()
    stop = start + n
    loss = torch.zeros((), device=rows.device)
    student_side, teacher_side = text.sides
    for part in by_length(n, int(recipe.micro_tokens / 1.4)):
        where = (start[part], split[part], stop[part])
        mine = student_side.batch(*where, templates[0])
        theirs = teacher_side.batch(*where, templates[1])
        n_words = int(n[part].max())
        with autocast(rows.device):
            states = model.hidden_states(mine.ids, mine.mask)
            with torch.no_grad():
                # BERT has 512 positions; words beyond them would be cut unevenly: keep max_length well below.
                targets = teacher(
                    input_ids=theirs.ids, attention_mask=theirs.mask.long(), output_hidden_states=True
                ).hidden_states
        part_loss = torch.zeros((), device=rows.device)
        for ours, other, weight in matched:
            got, count = mine.word_means(states[ours], n_words)
            want, other_count = theirs.word_means(targets[other], n_words)
            both = (count > 0) & (other_count > 0)
            part_loss = part_loss + weight * ((got - want)[both] ** 2).mean()
        part_loss = part_loss * (len(part) / len(rows))
        part_loss.backward()  # type: ignore[no-untyped-call]
        loss += part_loss.detach()
    return loss
