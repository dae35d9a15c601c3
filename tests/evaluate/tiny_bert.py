"""A random Hugging Face cross-encoder on disk, made on the spot."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

TEXT = ["the moon pulls the sea and the tide rises", "yeast makes gas in the dough", "how do tides work"]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write_bert(folder: Path, *, n_labels: int = 1, max_length: int = 48, head: bool = True) -> Path:
    """A BERT of two layers with a classifier (without one if ``head`` is false), and its tokenizer."""
    import torch
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        PreTrainedTokenizerFast,
    )
    from transformers import logging as chatter

    chatter.disable_progress_bar()
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106 - a token of text
    words.normalizer = normalizers.BertNormalizer()
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=90, special_tokens=SPECIALS, show_progress=False)
    words.train_from_iterator(TEXT, trainer)
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"unk": "[UNK]", "pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=max_length,
        **{f"{name}_token": token for name, token in names.items()},
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=90,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        num_labels=n_labels,
        max_position_embeddings=max_length,
        initializer_range=0.5,
    )
    (BertForSequenceClassification if head else BertModel)(config).save_pretrained(folder)
    return folder
