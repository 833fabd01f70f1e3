"""Bits per byte of a text under a network.

The protocol, which is part of every result: each token of the text, document separators included, is predicted
exactly once, from the tokens before it in its window; windows of `context` tokens follow one another without
overlap; the first begins with a separator.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int

from model.corpus import Tokens
from model.device import autocast
from model.errors import StoppedError
from model.network import Transformer

TOKENS_AT_ONCE = 8192  # per forward pass: bounds the memory of the logits


def val_bpb(
    network: Transformer, tokens: Tokens, separator: int, should_stop: Callable[[], bool] | None = None
) -> float:
    """Return Σ nats of every token / (ln 2 · Σ raw UTF-8 bytes); raises `StoppedError` when asked to stop."""
    return sum_nats(network, tokens, separator, should_stop) / (math.log(2) * int(tokens.text_bytes.sum()))


@torch.inference_mode()
def sum_nats(
    network: Transformer, tokens: Tokens, separator: int, should_stop: Callable[[], bool] | None = None
) -> float:
    """Return the nats that the network needs for every token, separators included, summed in float64."""
    context = network.config.context
    stream = np.concatenate(([separator], tokens.ids)).astype(np.int64)
    whole = (len(stream) - 1) // context
    rows = max(1, TOKENS_AT_ONCE // context)
    total = 0.0
    for first in range(0, whole, rows):
        if should_stop is not None and should_stop():
            raise StoppedError("stopped while measuring")
        last = min(first + rows, whole)
        windows = stream[first * context : last * context + 1]
        total += _nats(network, windows[:-1].reshape(-1, context), windows[1:].reshape(-1, context))
    if whole * context < len(stream) - 1:
        rest = stream[whole * context :]
        total += _nats(network, rest[None, :-1], rest[None, 1:])
    return total


def _nats(network: Transformer, inputs: Int[np.ndarray, "B T"], targets: Int[np.ndarray, "B T"]) -> float:
    device = network.embedding.weight.device
    with autocast(device):
        logits = network(torch.from_numpy(inputs).to(device))
    nats = F.cross_entropy(
        logits.float().flatten(0, 1), torch.from_numpy(targets).to(device).flatten(), reduction="none"
    )
    return float(nats.double().sum())
