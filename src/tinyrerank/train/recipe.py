"""What a training run is made from: one TOML file, read into these dataclasses."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tinyrerank.errors import DataError

#: Of a stage in :func:`trial`.
_TRIAL_STEPS, _TRIAL_TOKENS = 3, 2048


@dataclass(frozen=True, slots=True)
class SynthRecipe:
    """How many synthetic queries of each kind to make at most."""

    titles: int = 0
    aims: int = 0
    keywords: int = 0
    sentences: int = 0
    halves: int = 0
    spans: int = 0
    passages: int = 0
    parts: int = 0


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """Which sets to read.

    Attributes:
        labelled: sets with query, positive and negatives.
        corpora: sets with title and text.
        candidate_lists: sets with a query and unjudged candidates.
        queries: sets of bare queries.
        extra: paths of further corpora (JSON lines with title and text).
        dev: evaluation sets whose *development* queries tune the run.
        held_out: answers of each labelled set kept for tuning.
        title_in_text: share of corpus passages that keep their title in front.
        max_queries: keep a sample of this many, drawn evenly from labelled, real and synthetic ones; 0 keeps
            all.
        max_passages: keep those that the queries name, and a sample up to this many; 0 keeps all.
        negatives: given negatives that a query keeps at most where passages are sampled.
        synth: synthetic queries.
    """

    labelled: list[str] = field(default_factory=list)
    corpora: list[str] = field(default_factory=list)
    candidate_lists: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    dev: list[str] = field(default_factory=list)
    held_out: int = 100
    title_in_text: float = 0.5
    max_queries: int = 0
    max_passages: int = 0
    negatives: int = 4
    synth: SynthRecipe = field(default_factory=SynthRecipe)


@dataclass(frozen=True, slots=True)
class TokenizerRecipe:
    """The tokenizer to train; ``vocab_size`` counts specials and must fit the model's embedding."""

    vocab_size: int = 60_000
    word_weight: int = 30


@dataclass(frozen=True, slots=True)
class WarmStartRecipe:
    """Where the student starts.

    Attributes:
        folder: a BERT encoder of the student's width (config.json, model.safetensors, tokenizer.json).
        layers: which of its layers become the student's, in order.
    """

    folder: str = ""
    layers: list[int] = field(default_factory=lambda: [0, 2, 4, 5])


@dataclass(frozen=True, slots=True)
class MineRecipe:
    """Candidate lists.

    Attributes:
        dense: candidates a query from the nearest passages of the bi-encoder.
        lexical: candidates a query from BM25.
        chance: passages drawn at random.
        depth: how deep the first two are sampled from.
        length: documents a list; given positives and negatives come first.
        held_out: held-out queries of each set that are ranked to see how training goes.
        bm25_weight: of BM25 in the fused teacher scores, beside the teachers' own weights; 0 leaves it out.
        min_cosine: queries whose answer nobody knows are left out where the first teacher finds no passage at
            least this close; -1 keeps all.
    """

    dense: int = 6
    lexical: int = 6
    chance: int = 2
    depth: int = 60
    length: int = 16
    held_out: int = 60
    bm25_weight: float = 0.0
    min_cosine: float = -1.0


@dataclass(frozen=True, slots=True)
class TeacherRecipe:
    """A bi-encoder whose similarities label every list, or a cross-encoder, fine-tuned from it or ready made.

    Attributes:
        folder: a Hugging Face encoder folder.
        pooling: what its vectors are: the "mean" of the tokens' states, or the "first" one's.
        query_prefix: what stands before every query, for encoders that were trained so.
        passage_prefix: what stands before every passage.
        weight: of its similarities in the fused teacher; 0 embeds nothing (the first teacher also mines).
        late_weight: of late interaction, token by token, in the fused teacher; 0 compares none.
        cross_weight: of the cross-encoder in the fused teacher; 0 trains none.
        minutes: training of the cross-encoder at most; 0 takes the one in the folder, pooler and head.
        score_minutes: scoring of lists at most; lists left over use the similarities alone.
        tokens: tokens of a training batch.
        learning_rate: peak.
        max_length: tokens a pair.
    """

    folder: str = ""
    pooling: str = "mean"
    query_prefix: str = ""
    passage_prefix: str = ""
    weight: float = 1.0
    late_weight: float = 0.0
    cross_weight: float = 0.0
    minutes: float = 4.0
    score_minutes: float = 4.0
    tokens: int = 32_768
    learning_rate: float = 3e-5
    max_length: int = 224


@dataclass(frozen=True, slots=True)
class StageRecipe:
    """A training stage of the student.

    Attributes:
        runs: so many runs from the same start, side by side in processes of their own, each over its share of
            the lists; their weights' mean is the result (ranking stages; a model soup, Wortsman et al. 2022).
        steps: optimizer steps.
        minutes: stop (with the schedule run down) after this long; 0 means no limit.
        tokens: tokens of one optimizer step.
        micro_tokens: tokens of one forward pass.
        learning_rate: peak.
        warmup: share of the steps over which the rate rises.
        fall: last share of the steps, over which the rate falls to nothing.
        optimizer: "adamw", or "muon" for matrices between embeddings and classifier and AdamW for the rest.
        weight_decay: of matrices, in units of the learning rate.
        max_length: tokens a pair (query and document) at most.
        other_lengths: of which, or ``max_length``, every step draws its own (ranking stages).
        bare_share: share of steps whose texts lose all punctuation (ranking stages).
        easy_share: share of lists that keep their worst candidate where it is far below the rest (ranking
            stages).
        losses: name of each loss and its weight (ranking stages).
        temperature: the teacher's scores are divided by it (ranking stages).
        long_share: share of lists whose documents are hidden in longer ones (ranking stages).
        long_tokens: tokens of those at most, drawn step by step on a logarithmic scale from twice
            ``max_length``; each runs twice, so that memory holds one micro-batch at a time.
        quantize_share: last share of the steps that computes with int8 weights and 8-bit activations, as the
            native engine will.
        average: decay of the running average of weights; 0 keeps the last weights.
        start_share: share that the weights from before the stage have in those after it (ranking stages;
            WiSE-FT, Wortsman et al. 2022).
        share_of: model folder whose weights have that share instead, of the same geometry.
        dropout: of the student while it trains.
        looks: times that the held-out lists are ranked on the way (ranking stages).
    """

    runs: int = 1
    steps: int = 1000
    minutes: float = 0.0
    tokens: int = 16_384
    micro_tokens: int = 16_384
    learning_rate: float = 2e-4
    warmup: float = 0.05
    fall: float = 1.0
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    max_length: int = 256
    other_lengths: list[int] = field(default_factory=list)
    bare_share: float = 0.0
    easy_share: float = 1.0
    losses: dict[str, float] = field(default_factory=lambda: {"listwise_kl": 1.0})
    temperature: float = 1.0
    long_share: float = 0.0
    long_tokens: int = 2048
    quantize_share: float = 0.0
    average: float = 0.999
    start_share: float = 0.0
    share_of: str = ""
    dropout: float = 0.0
    looks: int = 4


@dataclass(frozen=True, slots=True)
class Recipe:
    """A whole run, from raw data to a model folder.

    Attributes:
        name: of the model.
        seed: of all chance.
        start: a model folder to go on from, or a hub name: its tokenizer and weights
            take the place of the stages tokenizer and hidden.
        data: which sets to read.
        tokenizer: the tokenizer to train.
        warm_start: the encoder to start from where ``start`` is empty.
        mine: candidate lists.
        teacher: who labels them.
        hidden: hidden-state distillation.
        rank: ranking distillation, round after round.
        beside: working folders of other recipes whose lists the rounds learn from, too: the stages up to
            teach are done there, the tokenizer is this one's, and their lists are as long.
        query_window: goes into the finished model's config: longer queries are read in parts.
        document_window: that, too: tokens of a window where long documents are read in windows.
    """

    name: str = "model"
    seed: int = 1
    start: str = ""
    data: DataRecipe = field(default_factory=DataRecipe)
    tokenizer: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    warm_start: WarmStartRecipe = field(default_factory=WarmStartRecipe)
    mine: MineRecipe = field(default_factory=MineRecipe)
    teacher: list[TeacherRecipe] = field(default_factory=list)
    hidden: StageRecipe = field(default_factory=StageRecipe)
    rank: list[StageRecipe] = field(default_factory=lambda: [StageRecipe()])
    beside: list[str] = field(default_factory=list)
    query_window: int = 0
    document_window: int = 0


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        DataError: not TOML, an unknown key, or a value of the wrong kind; names the key.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such recipe") from None
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: not valid TOML ({error})") from None
    recipe: Recipe = _read(Recipe, raw, str(path))
    return recipe


def trial(recipe: Recipe) -> Recipe:
    """The same recipe in miniature: every set, stage and loss, in minutes; what it makes ranks nothing."""

    def short(stage: StageRecipe) -> StageRecipe:
        tokens = min(stage.tokens, _TRIAL_TOKENS)
        micro = min(stage.micro_tokens, _TRIAL_TOKENS)
        return replace(
            stage, steps=min(stage.steps, _TRIAL_STEPS), minutes=0.0, tokens=tokens, micro_tokens=micro
        )

    made = {f.name: min(getattr(recipe.data.synth, f.name), 20) for f in dataclasses.fields(SynthRecipe)}
    held_out = min(recipe.data.held_out, 2)
    data = replace(
        recipe.data,
        held_out=held_out,
        max_queries=150,
        max_passages=300,
        negatives=1,
        synth=SynthRecipe(**made),
    )
    teachers = [
        replace(
            t,
            minutes=min(t.minutes, 0.2),
            score_minutes=min(t.score_minutes, 0.2),
            tokens=min(t.tokens, 2048),
        )
        for t in recipe.teacher
    ]
    rounds = [short(stage) for stage in recipe.rank]
    mine = replace(recipe.mine, held_out=min(recipe.mine.held_out, 1))
    return replace(recipe, data=data, mine=mine, teacher=teachers, hidden=short(recipe.hidden), rank=rounds)


def _read(kind: Any, raw: Any, where: str) -> Any:  # noqa: ANN401 - follows the dataclasses' own types
    make: Callable[..., Any] = kind
    if not dataclasses.is_dataclass(kind):
        origin = typing.get_origin(kind)
        if origin is list and isinstance(raw, list):
            return [_read(typing.get_args(kind)[0], item, f"{where}[{n}]") for n, item in enumerate(raw)]
        if origin is dict and isinstance(raw, dict):
            return {str(k): _read(typing.get_args(kind)[1], v, f"{where}.{k}") for k, v in raw.items()}
        if kind is float and isinstance(raw, int) and not isinstance(raw, bool):
            return float(raw)
        if isinstance(kind, type) and not isinstance(kind, types.GenericAlias) and type(raw) is kind:
            return raw
        raise DataError(f"{where}: expected {getattr(kind, '__name__', kind)}, not {raw!r}")
    if not isinstance(raw, dict):
        raise DataError(f"{where}: expected a table, not {raw!r}")
    known = typing.get_type_hints(kind)
    for key in raw:
        if key not in known:
            raise DataError(f"{where}: unknown key {key!r}; known: {', '.join(known)}")
    return make(**{key: _read(known[key], value, f"{where}.{key}") for key, value in raw.items()})
