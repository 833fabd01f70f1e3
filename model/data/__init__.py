"""From text to batches: sources, tokenizers, tokens, prepared once and kept."""
