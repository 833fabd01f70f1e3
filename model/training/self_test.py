"""The self-test: what a device has to get right before a study trusts its results.

Ten steps of the reference step's network, run as a trial's are (CUDA graphs, compiled where the study is), have the
losses of ten steps whose kernels are launched one by one; an evaluation agrees with one in float32 on the CPU; three
runs leave no more memory behind than one. Numbers are compared with room for bfloat16's rounding and for sums in
another order, not more: a step too few, a rate that doesn't move or rows that aren't replaced differ by far more.
"""

import copy
import gc
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.config import TrainConfig
from model.data.tokens import Tokens
from model.errors import ModelError
from model.evaluate import sum_nats
from model.network.device import on_device
from model.network.transformer import Transformer
from model.training.clock import SYSTEM_CLOCK, Clock
from model.training.reference_step import Reference, reference_for
from model.training.step import Step

STEPS = 10
"""Steps of each run."""
RUNS = 3
"""Runs on a GPU."""
RATE_TIMES_WIDTH = 0.064
"""Learning rate of the first step × the network's width; it grows by as much each step, so that a stuck one shows.

Ten times as much makes wide networks diverge, where rounding alone changes the losses by a fifth.
"""
LARGEST_LOSS_DIFFERENCE = 0.01
"""Largest share by which a step's loss may differ from that of the same step run eagerly."""
LARGEST_EVALUATION_DIFFERENCE = 0.01
"""Largest share by which an evaluation may differ from the CPU's in float32."""
MEMORY_GRAIN_BYTES = 2**21
"""Bytes by which torch's reserve may grow between runs: the smallest piece that it reserves."""


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """What the self-test found."""

    trouble: str = ""
    """What is wrong with the device, without a full stop; empty if it passed."""
    mode: str = ""
    """How steps were run, as in a result."""
    loss_difference: float = 0.0
    """Largest share by which a step's loss differs from that of the same step run eagerly."""
    evaluation_difference: float = 0.0
    """Share by which the evaluation differs from the CPU's in float32."""
    memory_growth_bytes: int = 0
    """Memory that torch holds after the third run beyond that after the first; 0 on a CPU."""
    seconds: float = 0.0
    """Length of the test."""

    @property
    def passed(self) -> bool:
        """Whether a study can trust the device."""
        return not self.trouble

    def table(self) -> dict[str, object]:
        """Return the figures for a result's provenance, where only a passed test is ever recorded."""
        return {
            "mode": self.mode,
            "loss_difference": float(f"{self.loss_difference:.2g}"),
            "evaluation_difference": float(f"{self.evaluation_difference:.2g}"),
            "memory_growth_bytes": self.memory_growth_bytes,
            "seconds": round(self.seconds, 1),
        }


def self_test(device: torch.device, compiled: bool, clock: Clock = SYSTEM_CLOCK) -> SelfTest:
    """Test a device; whatever goes wrong is told in the result and not raised."""
    start = clock()
    try:
        with on_device(device):
            found = _figures(reference_for(device), device, compiled)
    except (ModelError, RuntimeError) as error:
        first = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        cause = first if isinstance(error, ModelError) else f"{type(error).__name__}: {first}"
        return SelfTest(trouble=cause, seconds=clock() - start)
    return replace(found, trouble=_trouble(found, device), seconds=clock() - start)


def _figures(shape: Reference, device: torch.device, compiled: bool) -> SelfTest:
    eager = _Run(shape, device, compiled=False, graphs=False).losses
    differences, evaluations, reserved, mode = list[float](), list[float](), list[int](), ""
    for _ in range(RUNS if device.type == "cuda" else 1):  # a CPU has no reserve of memory to look at
        run = _Run(shape, device, compiled=compiled, graphs=True)
        mode = run.step.mode
        differences.append(max(_apart(a, b) for a, b in zip(run.losses, eager, strict=True)))
        evaluations.append(run.evaluation_difference())
        del run
        reserved.append(_reserved_bytes(device))
    return SelfTest(
        mode=mode,
        loss_difference=max(differences),
        evaluation_difference=max(evaluations),
        memory_growth_bytes=max(0, reserved[-1] - reserved[0]),
    )


class _Run:
    """A short training run, of which the loss of each step is kept."""

    def __init__(self, shape: Reference, device: torch.device, *, compiled: bool, graphs: bool) -> None:
        self._shape = shape
        network = Transformer(shape.network, shape.vocab_size, torch.Generator().manual_seed(0)).to(device)
        # Two micro-batches of the reference step's shape: gradients have to be added, and nothing else is compiled.
        training = TrainConfig(
            batch_size=2 * shape.batch_size, micro_batch=shape.batch_size, compile="on" if compiled else "off"
        )
        self.step = Step(network, training, budget_seconds=1.0, graphs=graphs)
        self.step.prepare(shape.batch_size)
        rate = RATE_TIMES_WIDTH / shape.network.d_model
        self.losses = [self._loss(rows, rate * (i + 1)) for i, rows in enumerate(_batches(shape))]

    def _loss(self, rows: Tensor, rate: float) -> float:
        self.step(rows, rate)
        return self.step.take_nats()

    def evaluation_difference(self) -> float:
        """Return by which share an evaluation here differs from the CPU's in float32."""
        network = self.step.network
        ids = next(_batches(self._shape)).flatten()[: 2 * network.config.context + network.config.context // 2]
        text = Tokens(ids.numpy().astype(np.uint16), np.array([0, len(ids)]), np.array([len(ids)]))
        here = sum_nats(network, text, 0)
        exact = sum_nats(copy.deepcopy(network).to("cpu"), text, 0, dtype=torch.float32)
        return _apart(here, exact)


def _batches(shape: Reference) -> Iterator[Tensor]:
    """Yield the rows of each step, other ones every time.

    Low tokens are frequent in the first micro-batch, high ones in the second: half of a batch teaches something else.
    """
    generator = torch.Generator().manual_seed(0)
    rank = torch.arange(1, shape.vocab_size + 1, dtype=torch.float32)
    length = shape.network.context + 1
    for _ in range(STEPS):
        drawn = [
            torch.multinomial(w, shape.batch_size * length, True, generator=generator)
            for w in (1 / rank, 1 / rank.flip(0))
        ]
        yield torch.cat(drawn).view(2 * shape.batch_size, length)


def _apart(a: float, b: float) -> float:
    """Return by which share a number differs from another one; infinity if one of them is no number."""
    share = abs(a - b) / abs(b) if b else float("inf")
    return share if share == share else float("inf")


def _reserved_bytes(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(device)


def _trouble(found: SelfTest, device: torch.device) -> str:
    if device.type == "cuda" and "CUDA graphs" not in found.mode:
        return f'steps run as "{found.mode}", without CUDA graphs'
    if found.loss_difference > LARGEST_LOSS_DIFFERENCE:
        difference = f"{found.loss_difference:.1%} from those of eager steps"
        return f"steps run as a trial's ({found.mode}) have losses up to {difference}"
    if found.evaluation_difference > LARGEST_EVALUATION_DIFFERENCE:
        return f"an evaluation differs by {found.evaluation_difference:.1%} from the CPU's in float32"
    if found.memory_growth_bytes > MEMORY_GRAIN_BYTES:
        return f"{RUNS} runs leave {found.memory_growth_bytes / 1e6:,.0f} MB more of its memory taken than one"
    return ""
