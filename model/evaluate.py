"""Bits per byte of a text under a network.

The protocol, which is part of every result: each token of the text, document separators included, is predicted
exactly once, from the tokens before it in its window; windows of `context` tokens follow one another without
overlap; the first begins with a separator.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F

from model.data.tokens import Tokens
from model.errors import StoppedError
from model.network.device import autocast, maybe_compiled, precision
from model.network.loss import largest_divisor
from model.network.shapes import Float, Int
from model.network.transformer import Transformer, softcap

TOKENS_AT_ONCE = {"cpu": 8192, "cuda": 65_536}
"""Tokens of a forward pass: enough to fill the device."""
COMPILED_TOKENS = 2048
"""The same for compiled blocks on a CPU: what lies between two layers stays in its cache (measured: 1.4 to 1.6 times as
fast as 8192)."""
LOGITS_AT_ONCE = {"cpu": 2**22, "cuda": 2**25}
"""Logits held at a time. A GPU holds several float32 copies beside the captured step: 457 MB, 1,352 MB at 2²⁷."""


def val_bpb(
    network: Transformer,
    tokens: Tokens,
    separator: int,
    should_stop: Callable[[], bool] | None = None,
    dtype: torch.dtype | None = None,
    compiled: bool = False,
) -> float:
    """Return Σ nats of every token / (ln 2 · Σ raw UTF-8 bytes); raises `StoppedError` when asked to stop.

    `dtype` is the precision of matrix products, by default the one that the network would be trained in. `compiled`
    compiles blocks and loss on a CPU, for a network that is evaluated many times; a GPU's passes are large enough
    without.
    """
    nats = sum_nats(network, tokens, separator, should_stop, dtype, compiled)
    return nats / (math.log(2) * int(tokens.text_bytes.sum()))


@torch.inference_mode()
def sum_nats(
    network: Transformer,
    tokens: Tokens,
    separator: int,
    should_stop: Callable[[], bool] | None = None,
    dtype: torch.dtype | None = None,
    compiled: bool = False,
) -> float:
    """Return the nats that the network needs for every token, separators included, summed in float64."""
    context, device = network.config.context, network.embedding.weight.device
    dtype, compiled = dtype or precision(device, width=network.config.d_model), compiled and device.type == "cpu"
    stream = np.concatenate(([separator], tokens.ids)).astype(np.int64)
    total = torch.zeros((), dtype=torch.float64, device=device)  # added to there: only the end waits for the device
    for inputs, targets in _passes(stream, context, _rows_at_once(network, compiled), separator, padded=compiled):
        if should_stop is not None and should_stop():
            raise StoppedError("stopped while measuring")
        total += _nats(network, inputs, targets, dtype, compiled)
    return float(total)


@torch.inference_mode()
def document_nats(
    network: Transformer,
    tokens: Tokens,
    separator: int,
    should_stop: Callable[[], bool] | None = None,
    dtype: torch.dtype | None = None,
) -> Float[np.ndarray, "N"]:
    """Return the nats of each document, its separator included, by the same protocol: their sum is `sum_nats`.

    Windows cross documents, so that the first tokens of one are predicted from the document before it.
    """
    context, device = network.config.context, network.embedding.weight.device
    dtype = dtype or precision(device, width=network.config.d_model)
    stream = np.concatenate(([separator], tokens.ids)).astype(np.int64)
    pieces: list[torch.Tensor] = []
    for inputs, targets in _passes(stream, context, _rows_at_once(network), separator, padded=False):
        if should_stop is not None and should_stop():
            raise StoppedError("stopped while measuring")
        pieces += _pieces(network, inputs, targets, dtype)
    nats = torch.cat(pieces).double().cpu().numpy()
    return np.asarray(np.add.reduceat(nats, tokens.starts[:-1]))


def _passes(
    stream: Int[np.ndarray, "N1"], context: int, rows: int, filler: int, padded: bool
) -> Iterator[tuple[Int[np.ndarray, "B T"], Int[np.ndarray, "N"]]]:
    """Yield the windows of each forward pass, and what is to be predicted in them, as far as there is text.

    Padded, all passes have one shape, which is compiled once; what is appended to the text changes nothing before it.
    """
    count = len(stream) - 1
    whole = count // context
    for first in range(0, -(-count // context) if padded else whole, rows):
        last = (first + rows) if padded else min(first + rows, whole)
        inputs = stream[first * context : min(last * context, count)]
        missing = (last - first) * context - len(inputs)
        yield (
            np.concatenate((inputs, np.full(missing, filler))).reshape(-1, context),
            stream[first * context + 1 : min(last * context, count) + 1],
        )
    if not padded and whole * context < count:
        yield stream[None, whole * context : -1], stream[whole * context + 1 :]


def _rows_at_once(network: Transformer, compiled: bool = False) -> int:
    """Return the windows of a forward pass."""
    most = COMPILED_TOKENS if compiled else TOKENS_AT_ONCE.get(network.embedding.weight.device.type, 8192)
    return max(1, most // network.config.context)


def pass_tokens(network: Transformer, compiled: bool = False) -> int:
    """Return the tokens of a full forward pass."""
    return _rows_at_once(network, compiled) * network.config.context


@torch.inference_mode()
def rehearse(network: Transformer, dtype: torch.dtype, compiled: bool = False) -> None:
    """Make the largest pass that an evaluation makes, on no text: compiled, and shown to fit into memory."""
    windows = np.zeros((_rows_at_once(network, compiled), network.config.context), dtype=np.int64)
    _nats(network, windows, windows.flatten(), dtype, compiled)


def _nats(
    network: Transformer,
    inputs: Int[np.ndarray, "B T"],
    targets: Int[np.ndarray, "N"],
    dtype: torch.dtype,
    compiled: bool = False,
) -> Float[torch.Tensor, ""]:
    """Return the summed nats of the targets; inputs may have more positions, after the last of them."""
    total = torch.zeros((), dtype=torch.float64, device=network.embedding.weight.device)
    for piece in _pieces(network, inputs, targets, dtype, compiled):
        total += piece.double().sum()
    return total


def _pieces(
    network: Transformer,
    inputs: Int[np.ndarray, "B T"],
    targets: Int[np.ndarray, "N"],
    dtype: torch.dtype,
    compiled: bool = False,
) -> Iterator[Float[torch.Tensor, "_"]]:
    """Yield the nats of each target, in order, so many at a time as logits may be held."""
    device = network.embedding.weight.device
    wanted = F.pad(torch.from_numpy(targets).to(device), (0, inputs.size - len(targets)))
    at_once = max(1, LOGITS_AT_ONCE.get(device.type, 2**22) // network.vocab_size)
    at_once = largest_divisor(inputs.size, at_once) if compiled else at_once
    nats = maybe_compiled(_token_nats, compiled)
    with autocast(device, dtype):
        states = network.states(torch.from_numpy(inputs).to(device), compiled=compiled)[0].flatten(0, 1)
        for i in range(0, len(targets), at_once):
            part = slice(i, i + at_once)
            found = nats(states[part], network.output_weight, wanted[part], network.config.logit_softcap)
            yield found[: len(targets) - i]


def _token_nats(
    states: Float[torch.Tensor, "N D"], weight: Float[torch.Tensor, "V D"], targets: Int[torch.Tensor, "N"], cap: float
) -> Float[torch.Tensor, "N"]:
    logits = softcap(F.linear(states, weight).float(), cap)
    return F.cross_entropy(logits, targets, reduction="none")
