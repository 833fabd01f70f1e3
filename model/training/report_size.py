"""How much validation text a report can measure for a small share of a run's budget, from this machine's speed."""

from collections.abc import Callable

import torch

from model.config import ModelConfig
from model.evaluate import pass_tokens, rehearse
from model.network.device import on_device, precision, synchronize
from model.network.flops import flops_per_token
from model.network.transformer import Transformer
from model.training.clock import SYSTEM_CLOCK, Clock

LEAST_BYTES, MOST_BYTES = 16_384, 262_144
"""Least and most bytes of a report: less text would rank trials by its accidents, more tells the pruner nothing new."""
SHARE, LARGEST_SHARE = 0.001, 0.01
"""Shares of the budget that a report may cost: a network of the usual size, and the largest one of the space."""

Shape = tuple[ModelConfig, int]
"""A network's configuration and its vocabulary size."""


def evaluation_tokens_per_second(shape: Shape, device: torch.device, clock: Clock = SYSTEM_CLOCK) -> float:
    """Return the speed of an evaluation that isn't compiled: the best of two passes, after one that warms up."""
    network = Transformer(*shape, torch.Generator().manual_seed(0)).to(device)
    dtype = precision(device, width=shape[0].d_model)

    def seconds(run: Callable[[], None]) -> float:
        synchronize(device)
        start = clock()
        run()
        synchronize(device)
        return clock() - start

    with on_device(device):
        times = [seconds(lambda: rehearse(network, dtype)) for _ in range(3)]
    return pass_tokens(network) / max(min(times[1:]), 1e-9)


def report_bytes(
    usual: Shape, largest: Shape, *, tokens_per_second: float, bytes_per_token: float, budget_seconds: float
) -> int:
    """Return the bytes of a report, a power of two: the largest that both shares of the budget allow.

    The speed is the usual network's. The largest one's is estimated by its operations, which is on the safe side: large
    products run at more operations a second. Below `LEAST_BYTES` a report is not made smaller, whatever it costs.
    """
    slower = flops_per_token(*largest) / flops_per_token(*usual)
    seconds = budget_seconds * min(SHARE, LARGEST_SHARE / max(1.0, slower))
    affordable = seconds * tokens_per_second * bytes_per_token
    size = LEAST_BYTES
    while 2 * size <= min(affordable, MOST_BYTES):
        size *= 2
    return size
