"""Who takes part in a comparison: what a user writes for it, and how it is opened.

::

    list                    the first-stage order, taken as it is
    tiny-en                 the model that the package carries, on the best engine here
    FOLDER                  a model folder: ours (JinaBERT), or any Hugging Face cross-encoder
    MODEL:ENGINE:MODE       one of ours on a chosen engine, in a chosen mode, or either alone
    NAME=…                  any of these under another name
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from tinyrerank.errors import InputError, ModelError
from tinyrerank.evaluate.results import FIRST_STAGE
from tinyrerank.evaluate.runner import System, hash_model, reranker_system
from tinyrerank.model.hub import DEFAULT_MODEL, default_folder
from tinyrerank.types import Policy

Kind = Literal["list", "ours", "cross-encoder"]

_ENGINES = ("native", "onnx", "torch")
_MODES = ("int8", "bf16", "fp32")
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # the first one there is what is loaded
_TEXT_FILES = ("config.json", "tokenizer.json", "vocab.txt", "merges.txt", "sentencepiece.bpe.model")


@dataclass(frozen=True, slots=True)
class Contender:
    """One system of a comparison, not loaded yet.

    Attributes:
        label: its name in the report.
        spec: what the user wrote, without a name.
        kind: the first-stage list, a model of ours, or a cross-encoder that runs through transformers.
        folder: its files; None for the list.
        engine: engine of ours that was asked for; None for the best one here.
        mode: mode that was asked for; None for the engine's own choice.
    """

    label: str
    spec: str
    kind: Kind
    folder: Path | None = None
    engine: str | None = None
    mode: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a user wrote.

        Raises:
            InputError: it names no model that is here, or settings that the model cannot have.
        """
        label, given, spec = text.partition("=")
        if not given or not label or "/" in label or Path(text).exists():
            label, spec = "", text
        if spec == FIRST_STAGE:
            if label:
                raise InputError(f"{text}: the list keeps its name; write just {FIRST_STAGE}")
            return cls(FIRST_STAGE, spec, "list")
        model, engine, mode = _split(spec)
        folder = _folder(model, text)
        kind: Kind = "ours" if _is_ours(folder) else "cross-encoder"
        if kind == "cross-encoder" and (engine or mode):
            raise InputError(
                f"{text}: engines and modes are for models of ours; {folder.name} runs in float32 through"
                " transformers. Write just its folder"
            )
        own = DEFAULT_MODEL if model == DEFAULT_MODEL else folder.resolve().name
        return cls(label or own + spec.removeprefix(model), spec, kind, folder, engine, mode)

    @property
    def disk_bytes(self) -> int:
        """Bytes of the files that are loaded: weights, tokenizer, config."""
        if self.folder is None:
            return 0
        weights = [self.folder / name for name in _WEIGHTS if (self.folder / name).is_file()][:1]
        others = [self.folder / name for name in _TEXT_FILES if (self.folder / name).is_file()]
        return sum(path.stat().st_size for path in (*weights, *others))

    @property
    def licence(self) -> str:
        """The licence in the model card's head; empty for the list, ``not stated`` where there is none."""
        if self.folder is None:
            return ""
        card = self.folder / "README.md"
        head = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
        if head.startswith("---"):
            for line in head.splitlines()[1:]:
                if line.strip() == "---":
                    break
                if line.startswith("license:"):
                    return line.removeprefix("license:").strip().strip("'\"") or "not stated"
        return "not stated"


@dataclass(frozen=True, slots=True)
class Opened:
    """A loaded contender.

    Attributes:
        system: what scores the sets.
        runs_on: engine and kernels, in words.
        parameters: numbers that the model has learned; None where that is not known.
        close: frees it.
    """

    system: System
    runs_on: str
    parameters: int | None
    close: Callable[[], None]


def open_contender(
    contender: Contender,
    *,
    max_length: int | None = None,
    policy: Policy = "truncate",
    threads: int | None = None,
) -> Opened:
    """Load a model; the list cannot be opened, for there is nothing to load.

    Args:
        contender: which one.
        max_length: tokens read of query and document; None for the model's own limit.
        policy: what models of ours do with longer pairs; others always cut the document.
        threads: threads; None for all CPUs that the process may use.

    Raises:
        ModelError: the folder is not a usable model.
        InputError: a setting that the model cannot have.
        MissingExtraError: its engine or transformers is not installed.
        EngineError: the engine does not work here.
    """
    if contender.folder is None:
        raise InputError("the list is no model, it is taken as it is")
    if contender.kind == "cross-encoder":
        from tinyrerank.evaluate.compare.crossencoder import CrossEncoder

        other = CrossEncoder(contender.folder, max_length=max_length, threads=threads)
        identity = other.identity | {"model": contender.label, "sha256": hash_model(contender.folder)}
        system = System(contender.label, identity, other, cut=other.cut, max_length=other.max_length)
        return Opened(system, "torch fp32, transformers", other.parameters, lambda: None)
    return _open_ours(contender, contender.folder, max_length, policy, threads)


def _open_ours(
    contender: Contender, folder: Path, max_length: int | None, policy: Policy, threads: int | None
) -> Opened:
    from tinyrerank.engine import load_engine
    from tinyrerank.reranker import Reranker

    options = {"dtype" if contender.engine == "torch" else "mode": contender.mode} if contender.mode else {}
    engine = load_engine(folder, contender.engine or "auto", threads=threads, **options)
    reranker = Reranker(folder, engine=engine, max_length=max_length, policy=policy)
    system = reranker_system(reranker, contender.label)
    runs_on = f"{engine.name} {getattr(engine, 'path', contender.mode or '')}".strip()
    identity = {**system.identity, "runs_on": runs_on}

    def close() -> None:
        reranker.close()
        engine.close()

    return Opened(replace(system, identity=identity), runs_on, _count_parameters(folder), close)


def _split(spec: str) -> tuple[str, str | None, str | None]:
    """Model, engine and mode; a colon that is part of a path stays in it."""
    model, engine, mode = spec, None, None
    head, _, tail = model.rpartition(":")
    if head and tail in _MODES:
        model, mode = head, tail
    head, _, tail = model.rpartition(":")
    if head and tail in _ENGINES:
        model, engine = head, tail
    return model, engine, mode


def _folder(model: str, text: str) -> Path:
    if model == DEFAULT_MODEL and not Path(model).is_dir():
        return default_folder()
    folder = Path(model)
    if folder.is_dir():
        return folder
    head, colon, tail = model.rpartition(":")
    if colon and (head == DEFAULT_MODEL or Path(head).is_dir()):
        known = ", ".join((*_ENGINES, *_MODES))
        raise InputError(f"{text}: no engine or mode {tail!r}; known: {known}")
    raise InputError(
        f"{text}: no such model here; give {DEFAULT_MODEL}, a model folder, or {FIRST_STAGE} for the"
        " first-stage order (a model on the hub must be fetched first: a comparison uses no network)"
    )


def _is_ours(folder: Path) -> bool:
    """Whether this is a JinaBERT, which our engines run."""
    path = folder / "config.json"
    try:
        config: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; a model folder has config.json and its weights") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path}: cannot be read ({error})") from None
    return isinstance(config, dict) and config.get("position_embedding_type") == "alibi"


def _count_parameters(folder: Path) -> int:
    """Parameters of a model of ours; the scales of the int8 form are none."""
    from tinyrerank.model.weights import expected_shapes, load_weights

    weights = load_weights(folder)
    total = 0
    for shape in expected_shapes(weights.config, weights.n_labels).values():
        count = 1
        for side in shape:
            count *= side
        total += count
    return total
