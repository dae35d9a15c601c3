"""A model folder that infinity can serve, as a stand-in of the same size, for ``load.py --also``.

    pip install 'infinity-emb[torch,server]'                # in an environment ENV of its own
    ENV/bin/python benchmarks/infinity_folder.py src/tinyrerank/weights/tiny-en OUT
    python benchmarks/load.py --baseline --out docs/results --also 'infinity (BERT stand-in)=env
        HF_HUB_OFFLINE=1 DO_NOT_TRACK=1 ENV/bin/infinity_emb v2 --model-id OUT --engine torch --device cpu
        --no-bettertransformer --no-model-warmup --url-prefix /v1 --host 127.0.0.1 --port {port}'

Our architecture needs remote code in the Hugging Face format, which is not written here. The stand-in is a
plain BERT cross-encoder: as many layers, heads, dimensions and positions, the same tokenizer, random weights.
It computes a little less than ours (its feed-forward block has no gate): the comparison errs in its favour.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast


def main() -> int:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("model", type=Path, help="folder of our model, for its size and tokenizer")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    ours = json.loads((args.model / "config.json").read_text(encoding="utf-8"))
    config = BertConfig(
        vocab_size=ours["vocab_size"],
        hidden_size=ours["hidden_size"],
        num_hidden_layers=ours["num_hidden_layers"],
        num_attention_heads=ours["num_attention_heads"],
        intermediate_size=ours["intermediate_size"],
        max_position_embeddings=ours["max_position_embeddings"],
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(args.out)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(args.model / "tokenizer.json"),
        model_max_length=ours["max_position_embeddings"],
        pad_token="<pad>",  # noqa: S106 - a token of text
        unk_token="<unk>",  # noqa: S106 - same
        sep_token="</s>",  # noqa: S106 - same
        cls_token="<s>",  # noqa: S106 - same
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.save_pretrained(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
