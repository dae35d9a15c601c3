"""Ranking distillation: the student learns to order candidate lists as its teachers do."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext, suppress
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tinyrerank.errors import DataError
from tinyrerank.model.hub import resolve_model
from tinyrerank.model.jinabert import JinaBert
from tinyrerank.model.weights import load_weights
from tinyrerank.train.encoders import autocast
from tinyrerank.train.losses import LOSSES
from tinyrerank.train.mine import Lists
from tinyrerank.train.optim import Order, Stage, seed_step
from tinyrerank.train.quantize import rounded
from tinyrerank.train.recipe import StageRecipe
from tinyrerank.train.tokens import DeviceText, PairBuilder, by_length

Evaluation = Callable[[], str]
#: Standardized teacher score under which a candidate counts as easy.
_FAR_BELOW = -1.5


class Enough(Exception):  # noqa: N818 - not an error
    """Raised by an evaluation to end the stage here."""


def train_rank(
    model: nn.Module,
    builder: PairBuilder,
    lists: Lists,
    recipe: StageRecipe,
    folder: Path,
    key: str,
    seed: int,
    evaluate: Evaluation | None = None,
    n_fillers: int | None = None,
    punctuation: NDArray[np.bool_] | None = None,
) -> Stage:
    """Train a cross-encoder on lists.

    A run of so many steps that is broken off and goes on from its checkpoint ends where an unbroken one would
    have (bit for bit on a CPU with one thread); one that ends by minutes depends on the clock.

    Args:
        model: maps ids and mask (B, T) to logits (B, 1); a student or a teacher, on the training device.
        builder: makes its pairs.
        lists: candidates with labels and teacher scores; a list whose scores are NaN has labels only.
        recipe: the stage.
        folder: for checkpoints.
        key: what the checkpoints belong to.
        seed: for the order of lists and all else that is drawn.
        evaluate: called a few times on the way; its text goes to the progress line. It may raise
            :class:`Enough`.
        n_fillers: passages 0..n_fillers may surround evidence in long documents; None allows all.
        punctuation: token ids that ``bare_share`` drops, (vocabulary,).

    Returns:
        The finished stage; the model holds the averaged weights, those from before mixed in as the recipe
        says, and is in eval mode.
    """
    _check_losses(recipe)
    device = next(model.parameters()).device
    before = _mixed_in(model, recipe)
    stage = Stage(model, recipe, folder, key)
    stage.resume()
    lists = without_easy(lists, 1 - recipe.easy_share, seed)
    per_list = mean_list_tokens(builder, lists)
    order = Order(len(lists.query), max(1, round(recipe.tokens / per_list)), seed)
    if recipe.bare_share and punctuation is None:
        raise DataError("bare_share needs to know which tokens are punctuation")
    bare = None if punctuation is None or not recipe.bare_share else builder.bare(punctuation)
    progress = stage.progress("ranking")
    running, next_look, note = float("nan"), _next_look(stage), ""
    model.train()
    with stage.kept_on_interrupt(), suppress(Enough):
        while stage.fraction < 1:
            chance = seed_step(seed, stage.step)
            rows, long_tokens = order.rows(stage.step), _long_tokens(recipe, chance)
            if long_tokens:
                fit = int(recipe.tokens / (long_tokens * lists.candidate.shape[1]))
                rows = rows[: max(1, fit)]
            texts = bare if bare and chance.random() < recipe.bare_share else builder
            if recipe.other_lengths:
                texts = replace(
                    texts, max_length=int(chance.choice([*recipe.other_lengths, recipe.max_length]))
                )
            batch = _to(lists, rows, device)
            loss = _step(model, texts, batch, recipe, stage.fraction, long_tokens, n_fillers)
            stage.update()
            running = loss if math.isnan(running) else 0.98 * running + 0.02 * loss
            stage.show(progress, f"loss {running:.4f}{note}")
            stage.save_when_due()
            if evaluate and next_look <= stage.fraction < 1:
                next_look = _next_look(stage)
                model.eval()
                note = "; " + evaluate()
                model.train()
    stage.finish()
    if before:
        after = [parameter.detach() for parameter in model.parameters()]
        torch._foreach_lerp_(after, before, recipe.start_share)
    model.eval()
    progress.close(f"loss {running:.4f}{note}")
    return stage


def _mixed_in(model: nn.Module, recipe: StageRecipe) -> list[Tensor]:
    """The parameters that ``start_share`` counts for, none where it is 0."""
    if not recipe.start_share:
        return []
    if not recipe.share_of:
        return [parameter.detach().clone() for parameter in model.parameters()]
    other = JinaBert.from_weights(load_weights(resolve_model(recipe.share_of)))
    return [parameter.detach().to(next(model.parameters()).device) for parameter in other.parameters()]


def _check_losses(recipe: StageRecipe) -> None:
    unknown = set(recipe.losses) - set(LOSSES)
    if unknown:
        raise DataError(f"unknown loss {', '.join(sorted(unknown))}; known: {', '.join(LOSSES)}")


def _long_tokens(recipe: StageRecipe, chance: np.random.Generator) -> int:
    """Length of this step's documents: 0 as they are, else drawn evenly on a logarithmic scale."""
    if chance.random() >= recipe.long_share:
        return 0
    shortest = min(2 * recipe.max_length, recipe.long_tokens)
    return round(shortest * float((recipe.long_tokens / shortest) ** chance.random()))


def _next_look(stage: Stage) -> float:
    """The fraction at which the held-out lists are ranked next; looks divide the stage evenly."""
    parts = stage.recipe.looks + 1
    return (math.floor(stage.fraction * parts) + 1) / parts


def without_easy(lists: Lists, share: float, seed: int) -> Lists:
    """Lists of which this share lose their worst candidate, where a teacher puts it far below the rest.

    It is the one drawn by chance as a rule; that it does not answer is soon learned. Known answers stay.
    """
    lost = lists.teacher.argmin(axis=1)[:, None]
    far = np.take_along_axis(lists.teacher, lost, axis=1) < _FAR_BELOW  # NaN: no teacher, nothing is lost
    answer = np.take_along_axis(lists.label, lost, axis=1) == 1
    drawn = np.random.default_rng(seed).random((len(lost), 1)) < share
    candidate = lists.candidate.copy()
    kept = np.take_along_axis(candidate, lost, axis=1)
    np.put_along_axis(candidate, lost, np.where(drawn & far & ~answer, -1, kept), axis=1)
    return replace(lists, candidate=candidate)


def mean_list_tokens(builder: PairBuilder, lists: Lists) -> float:
    """Tokens of all pairs of a list, on average over a sample."""
    sample = np.random.default_rng(0).permutation(len(lists.query))[:500]
    device = builder.queries.ids.device
    query, candidate, real = (t.to(device) for t in _pairs(lists.query[sample], lists.candidate[sample]))
    n_query, n_passage = builder.lengths(query[real], candidate[real])
    return float((n_query + n_passage + builder.template.n_specials).sum()) / len(sample)


def _pairs(query: NDArray[np.int32], candidate: NDArray[np.int32]) -> tuple[Tensor, Tensor, Tensor]:
    real = torch.from_numpy(candidate >= 0)
    numbers = torch.from_numpy(np.broadcast_to(query[:, None], candidate.shape).astype(np.int64))
    return numbers, torch.from_numpy(candidate.astype(np.int64)), real


def _to(
    lists: Lists, rows: NDArray[np.int64], device: torch.device
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    query, candidate, real = _pairs(lists.query[rows], lists.candidate[rows])
    label, teacher = torch.from_numpy(lists.label[rows]), torch.from_numpy(lists.teacher[rows])
    return query.to(device), candidate.to(device), real.to(device), label.to(device), teacher.to(device)


def _step(
    model: nn.Module,
    builder: PairBuilder,
    batch: tuple[Tensor, Tensor, Tensor, Tensor, Tensor],
    recipe: StageRecipe,
    fraction: float,
    long_tokens: int = 0,
    n_fillers: int | None = None,
) -> float:
    """Gradients of one batch of lists, passages hidden in ``long_tokens`` if above 0; returns its loss."""
    query, candidate, real, label, teacher = batch
    pair_query, pair_passage = query[real], candidate[real]
    if long_tokens:
        builder, pair_passage = _hide(builder, pair_passage, long_tokens, n_fillers)
    device = real.device
    n_query, n_passage = builder.lengths(pair_query, pair_passage)
    lengths = n_query + n_passage + builder.template.n_specials
    parts = list(by_length(lengths, recipe.micro_tokens))
    seeds = torch.randint(1 << 62, (len(parts),)).tolist()

    def score(n: int) -> Tensor:
        torch.manual_seed(seeds[n])
        ids, mask = builder.build(pair_query[parts[n]], pair_passage[parts[n]])
        with autocast(device):
            out: Tensor = model(ids, mask)[:, 0].float()
        return out

    round_weights = isinstance(model, JinaBert) and fraction > 1 - recipe.quantize_share
    with rounded(model) if round_weights and isinstance(model, JinaBert) else nullcontext():
        # Candidates of a list differ in length and meet again in the loss: either every micro-batch keeps
        # its graph, or (long documents) they run twice, and a graph lives for one micro-batch only.
        with torch.set_grad_enabled(not long_tokens):
            logits = torch.cat([score(n) for n in range(len(parts))])
        if long_tokens:
            logits.requires_grad_()
        place = torch.cat(parts).argsort()
        student = torch.zeros(real.shape, device=device).masked_scatter(real, logits[place])
        judged = real & ~teacher.isnan()
        teacher = teacher.nan_to_num() / recipe.temperature
        loss = torch.zeros((), device=device)
        for name, weight in recipe.losses.items():
            mask = real if name == "label_cross_entropy" else judged
            loss = loss + weight * LOSSES[name](student, teacher, label, mask)
        loss.backward()  # type: ignore[no-untyped-call]
        if long_tokens and logits.grad is not None:
            gradients = torch.split(logits.grad, [len(part) for part in parts])
            for n, gradient in enumerate(gradients):
                score(n).backward(gradient)  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _hide(
    builder: PairBuilder, passage: Tensor, n_tokens: int, n_fillers: int | None = None
) -> tuple[PairBuilder, Tensor]:
    """Put every passage at a random place among others of 0..n_fillers, ``n_tokens`` in all."""
    text = builder.passages
    device = passage.device
    fillers = text.lengths[:n_fillers]
    n_others = max(1, int(n_tokens / float(fillers.float().mean())) - 1)
    others = torch.randint(0, len(fillers), (len(passage), n_others), device=device)
    place = torch.randint(0, n_others + 1, (len(passage), 1), device=device)
    slots = torch.cat([others, passage[:, None]], dim=1)
    # The last column (the passage) moves to its place; the one that stood there takes the end.
    slots.scatter_(1, torch.full_like(place, n_others), slots.gather(1, place))
    slots.scatter_(1, place, passage[:, None])
    lengths = text.lengths[slots].clamp(max=builder.max_length)
    # Cut others, not the passage: those that overflow the budget shrink to nothing. Queries keep their room.
    own = torch.zeros_like(slots, dtype=torch.bool).scatter_(1, place, value=True)
    queries = copy(builder.queries)
    queries.lengths = queries.lengths.clamp(max=builder.max_length // 2)
    specials = builder.template.n_specials
    room = n_tokens - specials - builder.max_length // 2 - lengths[own][:, None]
    used = torch.where(own, 0, lengths).cumsum(1)
    lengths = torch.where(own | (used <= room), lengths, 0)
    flat_lengths, starts = lengths.flatten(), text.starts[slots].flatten()
    ends = flat_lengths.cumsum(0)
    index = torch.arange(int(ends[-1]), device=device)
    index = index + torch.repeat_interleave(starts - (ends - flat_lengths), flat_lengths)
    hidden = DeviceText.__new__(DeviceText)
    hidden.ids = text.ids[index]
    hidden.lengths = lengths.sum(1)
    hidden.starts = hidden.lengths.cumsum(0) - hidden.lengths
    return PairBuilder(queries, hidden, builder.template, n_tokens), torch.arange(len(passage), device=device)
