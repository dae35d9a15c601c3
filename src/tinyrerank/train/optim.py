"""What every training stage needs: optimizer, schedule, averaged weights, checkpoints that survive a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tinyrerank.errors import DataError
from tinyrerank.progress import Progress
from tinyrerank.train.muon import Muon
from tinyrerank.train.recipe import StageRecipe

_AVERAGE_EVERY = 8
_SAVE_EVERY_S = 120.0
_UNUSABLE_IN_A_ROW = 10


class Order:
    """Which rows each step sees: epoch after epoch, shuffled anew; a step's rows depend on its number alone.

    So a run that was broken off goes on with the very rows that it would have seen.

    Args:
        n: rows in all.
        size: rows of one step; the rest of an epoch that fills no step is left out.
        seed: decides all.
    """

    def __init__(self, n: int, size: int, seed: int) -> None:
        self.n, self.size, self.seed = n, min(size, n), seed
        self._epoch, self._rows = -1, np.zeros(0, dtype=np.int64)

    def rows(self, step: int) -> NDArray[np.int64]:
        """Rows of one step, (size,)."""
        epoch, place = divmod(step, max(1, self.n // self.size))
        if epoch != self._epoch:
            self._epoch = epoch
            self._rows = np.random.default_rng((self.seed, epoch)).permutation(self.n)
        return self._rows[place * self.size : (place + 1) * self.size]


def seed_step(seed: int, step: int) -> np.random.Generator:
    """All chance of a step depends on its number alone: torch's (dropout and the like), and the result's."""
    torch.manual_seed(1_000_003 * seed + step)
    return np.random.default_rng((seed, step, 1))


def set_dropout(model: nn.Module, p: float) -> None:
    """Give every dropout layer the same rate."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = p


def make_optimizers(
    named: list[tuple[str, nn.Parameter]], recipe: StageRecipe
) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for the matrices between embeddings and classifier.

    Raises:
        DataError: the recipe names another optimizer.
    """
    if recipe.optimizer not in ("adamw", "muon"):
        raise DataError(f"unknown optimizer {recipe.optimizer!r}; known: adamw, muon")

    def is_matrix(name: str, parameter: nn.Parameter) -> bool:
        outer = "embeddings" in name or "classifier" in name
        return recipe.optimizer == "muon" and parameter.ndim == 2 and not outer

    rest = [p for n, p in named if not is_matrix(n, p)]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = recipe.learning_rate
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
    ]
    if recipe.optimizer == "muon":
        matrices = [p for n, p in named if is_matrix(n, p)]
        made.append(Muon(matrices, lr=rate, weight_decay=recipe.weight_decay))
    return made


class Stage:
    """Optimizer state of one stage over one model.

    Args:
        model: what learns; parameters that do not require gradients are left alone.
        recipe: steps, rates, averaging.
        folder: checkpoints go to ``folder/checkpoint.pt``.
        key: what the checkpoint belongs to; a checkpoint with another key is refused.
    """

    def __init__(self, model: nn.Module, recipe: StageRecipe, folder: Path, key: str) -> None:
        self.model, self.recipe, self.folder, self.key = model, recipe, folder, key
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        self.optimizers = make_optimizers(named, recipe)
        self.average = [p.detach().clone() for _, p in named] if recipe.average else []
        self.parameters = [p for _, p in named]
        self.step = self._unusable = 0
        self.elapsed_s = self._shown = 0.0
        self._tick = self._saved = time.monotonic()

    @property
    def fraction(self) -> float:
        """How much of the stage is done, 0..1, by steps or by minutes, whichever is further."""
        by_steps = self.step / max(1, self.recipe.steps)
        by_time = self.elapsed_s / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def rate(self) -> float:
        """Learning rate now: linear warm-up, level, and over the last share a cosine to one hundredth."""
        done, recipe = self.fraction, self.recipe
        if done < recipe.warmup:
            return recipe.learning_rate * max(done / recipe.warmup, 1e-3)
        start = max(recipe.warmup, 1 - recipe.fall)
        x = max(0.0, done - start) / max(1e-9, 1 - start)
        return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * x)))

    def update(self) -> None:
        """One step on the gradients at hand: clip, optimizer, average.

        Gradients that are not finite are thrown away; the step counts nevertheless.

        Raises:
            DataError: so many in a row were not.
        """
        usable = bool(torch.nn.utils.clip_grad_norm_(self.parameters, 1.0).isfinite())
        self._unusable = 0 if usable else self._unusable + 1
        if self._unusable == _UNUSABLE_IN_A_ROW:
            raise DataError(
                f"{self.folder}: gradients were not finite in {self._unusable} steps in a row, up to step"
                f" {self.step:,}; lower learning_rate in the recipe and start this stage anew"
            )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate()
            if usable:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.average and self.step % _AVERAGE_EVERY == 0:
            decay = min(self.recipe.average, (1 + self.step) / (10 + self.step)) ** _AVERAGE_EVERY
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        self.step += 1
        now = time.monotonic()
        self.elapsed_s += now - self._tick
        self._tick = now

    def progress(self, name: str) -> Progress:
        """Progress in percent of the stage, by steps or by minutes; for :meth:`show`."""
        self._shown = done = 100 * self.fraction
        return Progress(100 - done, "%", name=name, done=done)

    def show(self, progress: Progress, note: str) -> None:
        """Tell ``progress`` how far the stage is."""
        done = 100 * self.fraction
        progress.advance(done - self._shown, f"step {self.step:,}, {note}")
        self._shown = done

    @contextmanager
    def kept_on_interrupt(self) -> Iterator[None]:
        """Within it, an interrupt (Ctrl-C) writes the checkpoint before it goes on."""
        try:
            yield
        except KeyboardInterrupt:
            self.save()
            raise

    def save_when_due(self) -> None:
        """Write the checkpoint every few minutes."""
        if time.monotonic() - self._saved > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Write the checkpoint, in place of the last one, at once or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, Any] = {
            "key": self.key,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "average": self.average,
        }
        partial = self.folder / "checkpoint.partial"
        torch.save(state, partial)
        partial.replace(self.folder / "checkpoint.pt")
        self._saved = time.monotonic()

    def resume(self) -> bool:
        """Continue from the checkpoint, if there is one.

        Raises:
            DataError: the checkpoint is of another recipe.
        """
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.parameters[0].device, weights_only=True)
        if state["key"] != self.key:
            raise DataError(f"{path}: made by another recipe; delete it, or choose another --work folder")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.average = state["average"]
        self.step, self.elapsed_s = state["step"], state["elapsed_s"]
        self._tick = time.monotonic()
        return True

    def finish(self) -> None:
        """Put the averaged weights into the model."""
        if self.average:
            torch._foreach_copy_([p.detach() for p in self.parameters], self.average)
