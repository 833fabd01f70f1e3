"""Parameters and floating-point operations of a network, by closed form."""

from model.config import ModelConfig
from model.network.blocks import block_counts
from model.network.counts import Counts


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Return the number of all parameters, tied embeddings counted once, heads that look further on included."""
    blocks = _blocks(config).parameters
    embeddings = vocab_size * config.d_model * (1 if config.tied else 2)
    norms = 1 + config.mtp_heads + config.embedding_norm
    return embeddings + blocks + norms * config.d_model


def count_active_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Return the number of parameters that a token passes through: all but those of the experts not chosen for it."""
    return count_parameters(config, vocab_size) - _blocks(config).idle


def flops_per_token(config: ModelConfig, vocab_size: int) -> int:
    """Return the operations that training needs for one token of a full context, multiplications and additions.

    6 for each parameter of a matrix that the token passes through (Kaplan et al. 2020, arXiv:2001.08361; looking
    up an embedding is free), and 12 · d for each token that an average position attends to (PaLM, appendix B,
    arXiv:2204.02311, with causality and windows counted as what they leave).
    """
    predictions = (1 + config.mtp_heads) * vocab_size * config.d_model
    return round(6 * (_blocks(config).products + predictions))


def _blocks(config: ModelConfig) -> Counts:
    layers = [*config.layers, *[config.further_layer] * config.mtp_heads]
    return Counts.of(*(block_counts(config, layer) for layer in layers))
