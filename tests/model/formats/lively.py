"""A network for tests of files: of random weights, yet with something to say."""

from typing import Any

import torch

from model.config import ModelConfig
from model.data.corpus import Corpus
from model.formats.checkpoint import Checkpoint
from model.network.transformer import Transformer

CONTEXT = 48


def lively(corpus: Corpus, options: dict[str, Any], context: int = CONTEXT) -> Checkpoint:
    """Return a network of random weights that is as sure of what follows as a trained one."""
    config = ModelConfig(n_layer=2, n_head=4, head_dim=8, context=context, **options)
    network = Transformer(config, corpus.tokenizer.vocab_size, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(3)
    return Checkpoint(network, corpus.tokenizer, {})
