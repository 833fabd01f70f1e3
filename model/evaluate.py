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

from model.data.tokens import Tokens
from model.errors import StoppedError
from model.network.device import autocast, precision
from model.network.shapes import Float, Int
from model.network.transformer import Transformer, softcap

TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 65_536}
"""Tokens of a forward pass: enough to fill the device."""
LOGITS_AT_ONCE = {"cpu": 2**22, "cuda": 2**25}
"""Logits held at a time. A GPU holds several float32 copies beside the captured step: 457 MB, 1,352 MB at 2²⁷."""


def val_bpb(
    network: Transformer,
    tokens: Tokens,
    separator: int,
    should_stop: Callable[[], bool] | None = None,
    dtype: torch.dtype | None = None,
) -> float:
    """Return Σ nats of every token / (ln 2 · Σ raw UTF-8 bytes); raises `StoppedError` when asked to stop.

    `dtype` is the precision of matrix products, by default the one that the network would be trained in.
    """
    nats = sum_nats(network, tokens, separator, should_stop, dtype)
    return nats / (math.log(2) * int(tokens.text_bytes.sum()))


@torch.inference_mode()
def sum_nats(
    network: Transformer,
    tokens: Tokens,
    separator: int,
    should_stop: Callable[[], bool] | None = None,
    dtype: torch.dtype | None = None,
) -> float:
    """Return the nats that the network needs for every token, separators included, summed in float64."""
    context, device = network.config.context, network.embedding.weight.device
    dtype = dtype or precision(device, width=network.config.d_model)
    stream = np.concatenate(([separator], tokens.ids)).astype(np.int64)
    whole = (len(stream) - 1) // context
    rows = _rows_at_once(network)
    total = torch.zeros((), dtype=torch.float64, device=device)  # added to there: only the end waits for the device
    for first in range(0, whole, rows):
        if should_stop is not None and should_stop():
            raise StoppedError("stopped while measuring")
        last = min(first + rows, whole)
        windows = stream[first * context : last * context + 1]
        total += _nats(network, windows[:-1].reshape(-1, context), windows[1:].reshape(-1, context), dtype)
    if whole * context < len(stream) - 1:
        rest = stream[whole * context :]
        total += _nats(network, rest[None, :-1], rest[None, 1:], dtype)
    return float(total)


def _rows_at_once(network: Transformer) -> int:
    """Return the windows of a forward pass."""
    return max(1, TOKENS_AT_ONCE.get(network.embedding.weight.device.type, 8192) // network.config.context)


@torch.inference_mode()
def rehearse(network: Transformer, dtype: torch.dtype) -> None:
    """Make the largest pass that an evaluation makes, on no text: whether its memory is there shows at once."""
    windows = np.zeros((_rows_at_once(network), network.config.context), dtype=np.int64)
    _nats(network, windows, windows, dtype)


def _nats(
    network: Transformer, inputs: Int[np.ndarray, "B T"], targets: Int[np.ndarray, "B T"], dtype: torch.dtype
) -> Float[torch.Tensor, ""]:
    device = network.embedding.weight.device
    wanted = torch.from_numpy(targets).to(device).flatten()
    at_once = max(1, LOGITS_AT_ONCE.get(device.type, 2**22) // network.vocab_size)
    total = torch.zeros((), dtype=torch.float64, device=device)
    with autocast(device, dtype):
        states = network.states(torch.from_numpy(inputs).to(device))[0].flatten(0, 1)
        for some, theirs in zip(torch.split(states, at_once), torch.split(wanted, at_once), strict=True):
            logits = softcap(F.linear(some, network.output_weight).float(), network.config.logit_softcap)
            total += F.cross_entropy(logits, theirs, reduction="none").double().sum()
    return total
