"""The bi-encoder against a slow twin in float64."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from beir_files import DOCUMENTS, write_set
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tinyrerank.errors import InputError, ModelError
from tinyrerank.evaluate import biencoder
from tinyrerank.evaluate.beir import BeirDocument
from tinyrerank.evaluate.first_stage import load_task
from tinyrerank.evaluate.runner import biencoder_system, evaluate_system

pytest.importorskip("torch", reason="the bi-encoder needs torch")

CONFIG: dict[str, Any] = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": 60,
    "type_vocab_size": 2,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
}
Tensors = dict[str, NDArray[np.float32]]


def random_bert() -> Tensors:
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (60, 16),
        "embeddings.position_embeddings.weight": (40, 16),
        "embeddings.token_type_embeddings.weight": (2, 16),
        "embeddings.LayerNorm.weight": (16,),
        "embeddings.LayerNorm.bias": (16,),
    }
    for i in range(2):
        layer = f"encoder.layer.{i}."
        for part in ("attention.self.query", "attention.self.key", "attention.self.value"):
            shapes |= {f"{layer}{part}.weight": (16, 16), f"{layer}{part}.bias": (16,)}
        shapes |= {
            f"{layer}attention.output.dense.weight": (16, 16),
            f"{layer}attention.output.dense.bias": (16,),
            f"{layer}attention.output.LayerNorm.weight": (16,),
            f"{layer}attention.output.LayerNorm.bias": (16,),
            f"{layer}intermediate.dense.weight": (24, 16),
            f"{layer}intermediate.dense.bias": (24,),
            f"{layer}output.dense.weight": (16, 24),
            f"{layer}output.dense.bias": (16,),
            f"{layer}output.LayerNorm.weight": (16,),
            f"{layer}output.LayerNorm.bias": (16,),
        }
    return {name: (0.5 * rng.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bert")
    (path / "config.json").write_text(json.dumps(CONFIG))
    save_file(random_bert(), path / "model.safetensors")
    words = sorted({w for title, text in DOCUMENTS.values() for w in f"{title} {text}".split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    assert len(vocabulary) <= 60
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no secret
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=128)  # as the published folder has it: must not leak into the mean
    tokenizer.enable_truncation(128)
    tokenizer.save(str(path / "tokenizer.json"))
    return path


def slow_embedding(folder: Path, text: str, max_length: int = 40) -> NDArray[np.float64]:
    """One text through BERT, mean over its tokens, length one."""
    w = {name: array.astype(np.float64) for name, array in random_bert().items()}
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = tokenizer.encode(text).ids
    if len(ids) > max_length:
        ids = [*ids[: max_length - 1], 3]
    n = len(ids)

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][:n]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for i in range(2):
        layer = f"encoder.layer.{i}."
        q, k, v = (
            linear(x, f"{layer}attention.self.{p}").reshape(n, 4, 4) for p in ("query", "key", "value")
        )
        mixed = np.zeros((n, 4, 4))
        for head in range(4):
            scores = np.exp(q[:, head] @ k[:, head].T / 2.0)
            mixed[:, head] = scores / scores.sum(-1, keepdims=True) @ v[:, head]
        x = norm(
            x + linear(mixed.reshape(n, 16), f"{layer}attention.output.dense"),
            f"{layer}attention.output.LayerNorm",
        )
        wide = linear(x, f"{layer}intermediate.dense")
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(x + linear(wide, f"{layer}output.dense"), f"{layer}output.LayerNorm")
    mean = x.mean(0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_embeddings_are_those_of_the_slow_twin_in_any_company(folder: Path) -> None:
    encoder = biencoder.BiEncoder(folder)
    texts = [f"{title} {text}".strip() for title, text in DOCUMENTS.values()]
    texts += ["", "tides", "moon " * 60]
    together = encoder.embed(texts)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(vector, slow_embedding(folder, text), atol=2e-5)
        np.testing.assert_allclose(vector, encoder.embed([text])[0], atol=2e-6)


def test_scores_are_cosines_of_title_and_text_prepared_or_not(folder: Path) -> None:
    documents: list[BeirDocument] = [{"title": t, "text": x} for t, x in DOCUMENTS.values()]
    expected = [
        slow_embedding(folder, f"{d['title']} {d['text']}".strip()) @ slow_embedding(folder, "the moon")
        for d in documents
    ]
    encoder = biencoder.BiEncoder(folder)
    np.testing.assert_allclose(encoder.score("the moon", documents), expected, atol=2e-5)
    read: list[int] = []
    encoder.prepare(documents, read.append)
    assert sum(read) == sum(len(f"{d['title']} {d['text']}".strip()) for d in documents)
    np.testing.assert_allclose(encoder.score("the moon", documents), expected, atol=2e-5)


def test_documents_beyond_the_limit_are_counted(folder: Path, tmp_path: Path) -> None:
    task = load_task(write_set(tmp_path / "toy"))
    lengths = {key: len(f"{t} {x}".split()) + 2 for key, (t, x) in DOCUMENTS.items()}
    encoder = biencoder.BiEncoder(folder, max_length=10)
    values = evaluate_system(task, biencoder_system(encoder), tmp_path / "out")
    assert values.cut == sum(lengths[key] > 10 for listed in task.run.values() for key in listed) > 0


def test_a_folder_that_is_no_bert_is_a_model_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json: no such file"):
        biencoder.BiEncoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "model_type": "roberta"}))
    with pytest.raises(ModelError, match="not a BERT with gelu"):
        biencoder.BiEncoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tensors = random_bert()
    del tensors["encoder.layer.1.output.dense.bias"]
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    with pytest.raises(ModelError, match=r"encoder\.layer\.1\.output\.dense\.bias is missing"):
        biencoder.BiEncoder(tmp_path)


def test_a_missing_package_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(biencoder, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match="--baseline cosine:FOLDER"):
        biencoder.installed_minilm()
