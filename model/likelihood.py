"""Summed log-probabilities of whole texts under a network: what minimal pairs are judged by.

Each token is predicted once, from the tokens before it, the first from the separator alone, which begins every document
in training. A text longer than the context goes on in a further window, as in `model.evaluate`. What would follow the
text isn't counted, so that nothing is said of where it ends.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from model.errors import StoppedError
from model.evaluate import LOGITS_AT_ONCE, TOKENS_AT_ONCE
from model.network.device import autocast
from model.network.shapes import Float, Int
from model.network.transformer import Transformer

Window = tuple[int, np.ndarray]
"""A text's index, and the tokens of one of its windows: the first is read alone, the last is predicted alone."""


@torch.inference_mode()
def log_likelihoods(
    network: Transformer,
    texts: Sequence[np.ndarray],
    separator: int,
    should_stop: Callable[[], bool] | None = None,
) -> Float[np.ndarray, "N"]:
    """Return each text's Σ ln p(token), of texts as token ids; raises `StoppedError` when asked to stop.

    Products are in float32 on every device, since two sentences may differ by less than bfloat16 keeps.
    """
    sums, device = np.zeros(len(texts)), network.embedding.weight.device
    with autocast(device, torch.float32):
        for batch in _batches(network, list(_windows(texts, separator, network.config.context))):
            if should_stop is not None and should_stop():
                raise StoppedError("stopped while scoring")
            np.add.at(sums, [text for text, _ in batch], _window_sums(network, [ids for _, ids in batch], separator))
    return sums


def _windows(texts: Sequence[np.ndarray], separator: int, context: int) -> Iterator[Window]:
    for number, ids in enumerate(texts):
        stream = np.concatenate(([separator], ids)).astype(np.int64)
        for first in range(0, len(ids), context):
            yield number, stream[first : first + context + 1]


def _batches(network: Transformer, windows: list[Window]) -> Iterator[list[Window]]:
    """Yield windows of like length together, as many as fill the device; the longest, which need most memory, first."""
    kind = network.embedding.weight.device.type
    tokens = min(TOKENS_AT_ONCE.get(kind, 8192), LOGITS_AT_ONCE.get(kind, 2**22) // network.vocab_size)
    windows = sorted(windows, key=lambda window: -len(window[1]))
    first = 0
    while first < len(windows):
        rows = max(1, tokens // (len(windows[first][1]) - 1))
        yield windows[first : first + rows]
        first += rows


def _window_sums(network: Transformer, windows: list[np.ndarray], filler: int) -> Float[np.ndarray, "B"]:
    """Return Σ ln p of each window's predicted tokens; what fills shorter rows up comes after all that counts."""
    longest = len(windows[0])
    rows = np.full((len(windows), longest), filler)
    for row, ids in zip(rows, windows, strict=True):
        row[: len(ids)] = ids
    tokens: Int[torch.Tensor, "B T1"] = torch.from_numpy(rows).to(network.embedding.weight.device)
    logits = network(tokens[:, :-1]).float()
    nats = F.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none").double()
    lengths = torch.tensor([len(ids) - 1 for ids in windows], device=tokens.device)
    counted = torch.arange(longest - 1, device=tokens.device) < lengths[:, None]
    return np.asarray(-(nats * counted).sum(dim=1).cpu().numpy())
