"""From text to token ids: the folder's own tokenizer, pairs, windows over long documents."""
