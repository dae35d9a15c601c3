"""What teachers compute with: a bi-encoder's states and vectors, and a cross-encoder fine-tuned from it.

Both start from a Hugging Face encoder folder (BERT or MPNet) and run through the ``transformers`` library.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own idiom
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel

from tinyrerank.errors import MissingExtraError, ModelError
from tinyrerank.model.jinabert import BACKENDS
from tinyrerank.progress import Progress
from tinyrerank.train.tokens import DeviceText, Flat, PairBuilder, Template, by_length, encode, join

_BERT, _ROBERTA = ("[CLS]", ("[SEP]",), "[SEP]", "[PAD]"), ("<s>", ("</s>", "</s>"), "</s>", "<pad>")
#: Start, middle, end and padding of pairs, by model_type; a BERT may read RoBERTa's pieces (multilingual-e5).
_TEMPLATES = {"bert": (_BERT, _ROBERTA), "mpnet": (_ROBERTA,)}


class TeacherText:
    """A teacher's tokenizer, the special tokens of its pairs, and its width."""

    def __init__(self, folder: Path) -> None:
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            kind, self.width = config["model_type"], int(config["hidden_size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{folder}: config.json is no Hugging Face encoder's ({error}); recipes/README.md says"
                " where to get the teachers"
            ) from None
        if kind not in _TEMPLATES:
            raise ModelError(
                f"{folder}: no teacher template for model_type {kind!r}; known: {', '.join(_TEMPLATES)}"
            )
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        known = [t for t in _TEMPLATES[kind] if self.tokenizer.token_to_id(t[0]) is not None]
        start, middle, end, pad = known[0] if known else _TEMPLATES[kind][0]

        def number(token: str) -> int:
            found = self.tokenizer.token_to_id(token)
            if found is None:
                raise ModelError(f"{folder}: tokenizer.json has no token {token}, which {kind} pairs need")
            return found

        self.template = Template(number(start), tuple(map(number, middle)), number(end), number(pad))

    def encode(self, texts: list[str], prefix: str = "") -> Flat:
        """Ids without specials, ``prefix`` in front of every text."""
        return encode(self.tokenizer, [prefix + text for text in texts] if prefix else texts)


def load_backbone(folder: Path) -> Any:  # noqa: ANN401 - a transformers model
    """The encoder of a folder, float32, eval mode."""
    try:
        from transformers import AutoModel, logging
    except ImportError:
        raise MissingExtraError("a teacher", "train") from None
    logging.set_verbosity_error()
    return (
        AutoModel.from_pretrained(str(folder), local_files_only=True, add_pooling_layer=False).float().eval()
    )


@torch.no_grad()
def token_states(
    backbone: Any,  # noqa: ANN401 - a transformers model
    template: Template,
    flat: Flat,
    device: torch.device,
    *,
    max_length: int = 256,
    micro_tokens: int = 65_536,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Last hidden states of texts, long ones first: numbers (B,), states (B, T, width), mask (B, T)."""
    # Half the bytes and the products of tensor cores: float16 keeps more of a cosine than bfloat16, which is
    # what CPUs have products of.
    short = torch.float16 if device.type == "cuda" else torch.bfloat16
    kind = short if has_bf16(device) else torch.float32
    backbone = backbone.to(device, kind)
    text = DeviceText(flat, device)
    n = text.lengths.clamp(max=max_length - 2)
    nothing = torch.zeros_like(n)
    single = Template(template.start, (), template.end, template.pad)
    for rows in by_length(n + 2, micro_tokens):
        part = (text.ids, text.starts[rows], n[rows])
        ids, mask = join(single, part, (text.ids, nothing[rows], nothing[rows]))
        with sdpa_kernel(BACKENDS):
            states = backbone(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        yield rows, states, mask


@torch.no_grad()
def embed(
    backbone: Any,  # noqa: ANN401 - a transformers model
    template: Template,
    flat: Flat,
    device: torch.device,
    *,
    pooling: str = "mean",
    max_length: int = 256,
    micro_tokens: int = 65_536,
    progress: Progress | None = None,
) -> Tensor:
    """Normalized embeddings of all texts, (n, width) on the device, float32: "mean" or "first" states."""
    out = torch.zeros((len(flat.lengths), backbone.config.hidden_size), device=device)
    made = token_states(backbone, template, flat, device, max_length=max_length, micro_tokens=micro_tokens)
    for rows, states, mask in made:
        pooled = states[:, 0].float()
        if pooling == "mean":
            pooled = (states.float() * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        out[rows] = F.normalize(pooled, dim=-1)
        if progress is not None:
            progress.advance(int(mask.sum()) - 2 * len(rows))
    return out


def has_bf16(device: torch.device) -> bool:
    """Whether products of bf16 are fast: on every GPU, and on CPUs with bf16 dot products."""
    return device.type == "cuda" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def autocast(device: torch.device) -> torch.autocast:
    """Bf16 where it is fast."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=has_bf16(device))


def similarities(
    queries: Tensor, passages: Tensor, candidates: NDArray[np.int32], query: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Cosines of every list: queries (n, d) and passages (m, d) normalized; (L, K), 0 at padding (-1)."""
    out = np.zeros(candidates.shape, dtype=np.float32)
    for start in range(0, len(candidates), 4096):
        rows = torch.from_numpy(candidates[start : start + 4096].astype(np.int64)).to(queries.device)
        q = queries[torch.from_numpy(query[start : start + 4096].astype(np.int64)).to(queries.device)]
        cosines = torch.einsum("qd,qkd->qk", q.float(), passages[rows.clamp(min=0)].float())
        out[start : start + 4096] = torch.where(rows >= 0, cosines, 0.0).cpu().numpy()
    return out


class CrossTeacher(nn.Module):
    """An encoder with a ranking head on its first token.

    Args:
        backbone: the encoder.
        width: of its states.
        separator: the token behind the query, where token types tell query and passage apart.
    """

    def __init__(self, backbone: Any, width: int, separator: int | None = None) -> None:  # noqa: ANN401 - a transformers model
        super().__init__()
        self.backbone = backbone
        self.dense = nn.Linear(width, width)
        self.head = nn.Linear(width, 1)
        self.separator = separator

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, 1) of pairs (B, T)."""
        types = {}
        if self.separator is not None:
            ends = (ids == self.separator).long()
            types["token_type_ids"] = ((ends.cumsum(1) - ends) > 0).long() * mask
        first = self.backbone(input_ids=ids, attention_mask=mask.long(), **types).last_hidden_state[:, 0]
        logits: Tensor = self.head(torch.tanh(self.dense(first)))
        return logits


def ready_cross(folder: Path, text: TeacherText, device: torch.device) -> CrossTeacher:
    """The cross-encoder that a BERT folder holds: encoder, pooler and a classifier with one logit.

    Raises:
        ModelError: it has no such head.
    """
    parts = {"bert.pooler.dense": "dense", "classifier": "head"}
    cross = CrossTeacher(load_backbone(folder), text.width, text.template.middle[0])
    try:
        stored = load_file(folder / "model.safetensors")
        for name, here in parts.items():
            wanted = {leaf: stored[f"{name}.{leaf}"] for leaf in ("weight", "bias")}
            getattr(cross, here).load_state_dict(wanted)
    except (OSError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"{folder}: no ready cross-encoder of one logit ({error}); give it minutes to be trained"
        ) from None
    kind = torch.bfloat16 if has_bf16(device) else torch.float32
    return cross.to(device, kind).eval()


@torch.no_grad()
def score_pairs(
    model: nn.Module,
    builder: PairBuilder,
    query: Tensor,
    passage: Tensor,
    *,
    micro_tokens: int,
    device: torch.device,
) -> Tensor:
    """Logits (n,) of pairs given by numbers of queries and passages."""
    n_query, n_passage = builder.lengths(query, passage)
    out = torch.zeros(len(query), dtype=torch.float32, device=device)
    for rows in by_length(n_query + n_passage + builder.template.n_specials, micro_tokens):
        ids, mask = builder.build(query[rows], passage[rows])
        with autocast(device):
            out[rows] = model(ids, mask)[:, 0].float()
    return out
