"""llama.cpp on the same weights: its form of this architecture up to ``<s>``, pooler and classifier by NumPy.

llama.cpp itself ends without the pooler and with a tokenizer of its own kind, so token ids go in and hidden
states of ``<s>`` come out: that is nearly all of the work, and gives logits that can be compared.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinyrerank.errors import EngineError, MissingExtraError
from tinyrerank.model.weights import Weights, load_weights

_ARCHITECTURE = "jina-bert-v2"
#: Our names in a layer -> theirs; query, key and value, and the feed-forward, apart.
_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "mlp.gated_layers": "ffn_up",
    "mlp.wo": "ffn_down",
    "mlp.layernorm": "layer_output_norm",
}
#: Tokens of one call: all its sequences share one square of attention, so larger ones cost more.
_CALL_TOKENS, _CALL_SEQUENCES = 512, 64


def prepare_llama(folder: Path, out: Path, variant: str) -> None:
    """Write the GGUF file of a model folder, once; ``q8`` or ``bf16`` for the matrices."""
    if out.exists():
        return
    try:
        import gguf
    except ImportError:
        raise MissingExtraError(
            "the peer llama-cpp (packages llama-cpp-python and gguf)", "bench-llama"
        ) from None
    weights = load_weights(folder).to_dense()
    config = weights.config
    types = gguf.GGMLQuantizationType
    kind = types.Q8_0 if variant == "q8" else types.BF16
    partial = out.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, _ARCHITECTURE)
    writer.add_context_length(config.max_length)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.n_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.n_heads)
    writer.add_layer_norm_eps(config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(config.vocab_size)
    writer.add_token_type_count(config.type_vocab_size)
    for name, array in _named(weights):
        value = np.ascontiguousarray(array, np.float32)
        if value.ndim == 2 and name != "token_types.weight":
            writer.add_tensor(name, gguf.quants.quantize(value, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(out)


def _named(weights: Weights) -> list[tuple[str, NDArray[Any]]]:
    """Every tensor of embeddings and layers under llama.cpp's name."""
    t = weights.tensors
    p = "bert.embeddings."
    named = [
        ("token_embd.weight", t[p + "word_embeddings.weight"]),
        ("token_types.weight", t[p + "token_type_embeddings.weight"]),
        ("token_embd_norm.weight", t[p + "LayerNorm.weight"]),
        ("token_embd_norm.bias", t[p + "LayerNorm.bias"]),
    ]
    for n in range(weights.config.n_layers):
        for ours, theirs in _LAYER.items():
            for part in ("weight", "bias"):
                array = t.get(f"bert.encoder.layer.{n}.{ours}.{part}")
                if array is not None:
                    named.append((f"blk.{n}.{theirs}.{part}", array))
    return named


class LlamaEngine:
    """Scores packed token ids, sorted by length, many sequences a call."""

    name = "llama-cpp"

    def __init__(self, folder: Path, file: Path, *, threads: int) -> None:
        try:
            import llama_cpp
        except ImportError:
            raise MissingExtraError("the peer llama-cpp (package llama-cpp-python)", "bench-llama") from None
        self._lib: Any = llama_cpp
        weights = load_weights(folder).to_dense()
        self.max_length = weights.config.max_length
        self._tensors = {k: np.asarray(v, np.float32) for k, v in weights.tensors.items() if "layer" not in k}
        self._hidden = weights.config.hidden_size
        self._quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            str(file).encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise EngineError(f"llama.cpp cannot load {file}")
        self._threads = threads
        self._context: Any = None
        self._room = 0

    def score(self, ids: NDArray[np.int32], cu_seqlens: NDArray[np.int32]) -> NDArray[np.float32]:
        """Logits (n,) of packed sequences."""
        lengths = np.diff(cu_seqlens)
        self._open(max(_CALL_TOKENS, int(lengths.max())))
        hidden = np.empty((len(lengths), self._hidden), np.float32)
        group: list[int] = []
        for i in np.argsort(lengths, kind="stable").tolist():
            full = len(group) == _CALL_SEQUENCES or lengths[group].sum() + lengths[i] > self._room
            if group and full:
                self._call(ids, cu_seqlens, group, hidden)
                group = []
            group.append(i)
        self._call(ids, cu_seqlens, group, hidden)
        t = self._tensors
        pooled = np.tanh(hidden @ t["bert.pooler.dense.weight"].T + t["bert.pooler.dense.bias"])
        logits: NDArray[np.float32] = pooled @ t["classifier.weight"][0] + t["classifier.bias"][0]
        return logits

    def close(self) -> None:
        """Free llama.cpp's memory."""
        if self._context:
            self._lib.llama_free(self._context)
        self._lib.llama_model_free(self._model)

    def _open(self, tokens: int) -> None:
        """A context with room for a call of so many tokens."""
        if tokens <= self._room:
            return
        if self._context:
            self._lib.llama_free(self._context)
        params = self._lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self._room = tokens
        params.n_seq_max = _CALL_SEQUENCES
        params.kv_unified = True
        params.n_threads = params.n_threads_batch = self._threads
        params.embeddings = True
        params.pooling_type = self._lib.LLAMA_POOLING_TYPE_CLS
        self._context = self._lib.llama_init_from_model(self._model, params)
        if not self._context:
            raise EngineError("llama.cpp cannot make a context")

    def _call(
        self,
        ids: NDArray[np.int32],
        cu_seqlens: NDArray[np.int32],
        group: list[int],
        hidden: NDArray[np.float32],
    ) -> None:
        batch = self._lib.llama_batch_init(self._room, 0, 1)
        n = 0
        for place, i in enumerate(group):
            for position, token in enumerate(ids[cu_seqlens[i] : cu_seqlens[i + 1]].tolist()):
                batch.token[n], batch.pos[n], batch.n_seq_id[n] = token, position, 1
                batch.seq_id[n][0], batch.logits[n] = place, 1
                n += 1
        batch.n_tokens = n
        failed = self._lib.llama_encode(self._context, batch)
        self._lib.llama_batch_free(batch)
        if failed:
            raise EngineError(f"llama.cpp failed with code {failed}")
        for place, i in enumerate(group):
            first = self._lib.llama_get_embeddings_seq(self._context, place)
            hidden[i] = np.ctypeslib.as_array(first, shape=(self._hidden,))
