"""Parameters and floating-point operations of a network, by closed form."""

from model.config import ModelConfig


def attention_parameters(config: ModelConfig) -> int:
    """Return the parameters of one block's keys and values: d · w, or p · (d + w) through a projection of p.

    w is the joint width of keys and values. The latent kind is smaller where p < d · w / (d + w): with d 256 and
    w 512, 131,072 parameters and a break-even at p = 170.67.
    """
    kv_width = 2 * config.kv_heads * config.head_dim
    if config.attention == "latent":
        return config.projection_dim * (config.d_model + kv_width)
    return config.d_model * kv_width


def block_matrices(config: ModelConfig) -> int:
    """Return the parameters of one block's matrices."""
    d = config.d_model
    mlp = (3 if config.mlp == "swiglu" else 2) * d * config.hidden_width
    return 2 * d * d + attention_parameters(config) + mlp


def count_parameters(config: ModelConfig, vocab_size: int) -> int:
    """Return the number of all parameters, tied embeddings counted once, heads that look further on included."""
    d = config.d_model
    block = block_matrices(config) + 2 * d + (2 * config.head_dim if config.qk_norm else 0)
    embeddings = vocab_size * d * (1 if config.tied else 2)
    return embeddings + (config.n_layer + config.mtp_heads) * block + (1 + config.mtp_heads) * d


def flops_per_token(config: ModelConfig, vocab_size: int) -> int:
    """Return the operations that training needs for one token of a full context, multiplications and additions.

    6 for each parameter of a matrix that the token passes through (Kaplan et al. 2020, arXiv:2001.08361; looking
    up an embedding is free), and 12 · d for each token that an average position attends to (PaLM, appendix B,
    arXiv:2204.02311, with causality and the window counted as what they leave).
    """
    d, blocks = config.d_model, config.n_layer + config.mtp_heads
    matrices = blocks * block_matrices(config) + (1 + config.mtp_heads) * vocab_size * d
    return round(6 * matrices + 12 * d * blocks * attended(config))


def attended(config: ModelConfig) -> float:
    """Return how many tokens, itself included, a position of a full context attends to on average."""
    reach = min(config.window or config.context, config.context)
    return reach - reach * (reach - 1) / (2 * config.context)
