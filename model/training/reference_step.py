"""The reference step: one fixed piece of training, timed, which tells how fast a machine is now.

The same weights, batch and optimizer everywhere, run as a trial's steps are run (precision, CUDA graphs); only the
shape differs between GPUs and CPUs, whose figures are therefore never compared with one another.
"""

import gc
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch

from model.config import ModelConfig, TrainConfig
from model.network.device import on_device, synchronize
from model.network.transformer import Transformer
from model.training.clock import SYSTEM_CLOCK, Clock
from model.training.step import Step

RATE = 1e-6
"""Learning rate: a step takes as long at any, and at this one nothing diverges."""

MOST = 4
"""Times the intended length, after which fewer rounds must do: the machine is very slow, or its cores are taken."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What is trained, and for how long it is timed."""

    network: ModelConfig
    """The network's shape."""
    vocab_size: int
    """Tokens that it knows."""
    batch_size: int
    """Sequences of a step."""
    rounds: int
    """Measurements, of which the median counts: a hiccup doesn't."""
    round_seconds: float
    """Length of one, about; a step may be longer."""

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batch_size * self.network.context


ON_GPU = Reference(
    network=ModelConfig(n_layer=8, n_head=8, head_dim=64, context=512),
    vocab_size=4096,
    batch_size=16,
    rounds=9,
    round_seconds=0.3,
)
"""Large enough to load the GPU and not the host, long enough to show a cap on its power."""
ON_CPU = Reference(
    network=ModelConfig(n_layer=2, n_head=2, head_dim=32, context=64),
    vocab_size=512,
    batch_size=4,
    rounds=5,
    round_seconds=0.04,
)
"""Short, since on shared cores a longer look is hardly surer."""


def reference_for(device: torch.device) -> Reference:
    """Return the reference step of this kind of device."""
    return ON_GPU if device.type == "cuda" else ON_CPU


def reference_tokens_per_second(device: torch.device, clock: Clock = SYSTEM_CLOCK, *, compiled: bool = False) -> float:
    """Return the throughput of the reference step; warm-up, compilation and capture are off the clock.

    Raises `DeviceMemoryError` where not even this small network fits: something else fills the memory.
    """
    return tokens_per_second(reference_for(device), device, clock, compiled=compiled)


def tokens_per_second(
    reference: Reference, device: torch.device, clock: Clock = SYSTEM_CLOCK, *, compiled: bool = False
) -> float:
    """Return the throughput of a step of this shape.

    Raises `DeviceMemoryError` where it doesn't fit, and `CompileError` where it can't be compiled and shall be.
    """
    with on_device(device):
        step = _prepared(reference, device, compiled)
        rows = _rows(reference)
        seconds = median_seconds(
            lambda: step(rows, RATE),
            lambda: synchronize(device),
            clock,
            rounds=reference.rounds,
            round_seconds=reference.round_seconds,
        )
    if device.type == "cuda":
        del step
        gc.collect()
        torch.cuda.empty_cache()  # the first trial's search for its micro-batch wants all of it
    return reference.tokens / seconds


def _prepared(reference: Reference, device: torch.device, compiled: bool) -> Step:
    training = TrainConfig(
        batch_size=reference.batch_size, micro_batch=reference.batch_size, compile="on" if compiled else "off"
    )
    network = Transformer(reference.network, reference.vocab_size, torch.Generator().manual_seed(0)).to(device)
    step = Step(network, training, budget_seconds=1.0)
    step.prepare(reference.batch_size)  # without a search for what fits, which would end with another compilation
    return step


def _rows(reference: Reference) -> torch.Tensor:
    size = (reference.batch_size, reference.network.context + 1)
    return torch.randint(reference.vocab_size, size, generator=torch.Generator().manual_seed(0))


def median_seconds(
    step: Callable[[], None],
    settle: Callable[[], None],
    clock: Clock,
    *,
    rounds: int,
    round_seconds: float,
) -> float:
    """Return the median time of a step over rounds of as many steps as fill `round_seconds`.

    `settle` waits for what was handed to the device, once a round.
    """

    def timed(steps: int) -> float:
        settle()
        start = clock()
        for _ in range(steps):
            step()
        settle()
        return (clock() - start) / steps

    timed(1)  # the first step after the warm-up is not yet like the others
    steps = max(1, round(round_seconds / max(timed(2), 1e-9)))
    found = list[float]()
    while len(found) < rounds and sum(found) * steps < MOST * rounds * round_seconds:
        found.append(timed(steps))
    return statistics.median(found)
