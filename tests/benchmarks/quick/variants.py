"""Steps to compare, and their speed side by side: every variant takes its turn in each round."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from model.config import TrainConfig
from model.data.batches import Batches
from model.network import device as devices
from model.network.flops import flops_per_token
from model.network.transformer import Transformer
from model.training.peak_flops import peak_flops
from model.training.step import Step
from tests.benchmarks.plain import Shape
from tests.benchmarks.quick.scale import Figures, Scale
from tests.benchmarks.steps import RATE, interleaved, tokens


class Variant:
    """Our step, prepared; calling it makes a step on the next batch."""

    def __init__(
        self, scale: Scale, shape: Shape, *, graphs: bool = True, narrow: bool = False, **training: Any
    ) -> None:
        self.shape = shape
        options = {"batch_size": shape.batch_size, "micro_batch": shape.batch_size, "compile": scale.compile}
        network = Transformer(shape.config, shape.vocab_size, torch.Generator().manual_seed(0)).to(scale.device)
        if narrow:
            setattr(network, "narrow_stream", True)  # noqa: B010 - torch's modules let no flag be assigned, says mypy
        self.step = Step(network, TrainConfig(**{**options, **training}), budget_seconds=600, graphs=graphs)
        start = time.perf_counter()
        self.step.prepare()
        devices.synchronize(scale.device)
        self.prepare_seconds = time.perf_counter() - start
        self._batches = Batches(tokens(shape), 0, shape.config.context, 0)

    def __call__(self, rate: float = RATE) -> None:
        """Make a step."""
        self.step(self._batches.next(self.shape.batch_size), rate)


def compared(scale: Scale, shape: Shape, runs: Mapping[str, Callable[[float], None]]) -> dict[str, Figures]:
    """Return each run's tokens per second, milliseconds a step, MFU and its speed ÷ the first one's."""
    steps = interleaved(runs, scale.device, scale.rounds, scale.round_seconds)
    first = next(iter(steps))
    flops = flops_per_token(shape.config, shape.vocab_size)
    peak = peak_flops(scale.device, devices.precision(scale.device, width=shape.config.d_model))
    found: dict[str, Figures] = {}
    for name, rates in steps.items():
        middle = sorted(rates)[len(rates) // 2]
        found[name] = {
            "tokens/s": round(middle * shape.tokens),
            "ms a step": 1e3 / middle,
            "MFU": middle * shape.tokens * flops / peak,
            f"÷ {first}": sorted(a / b for a, b in zip(rates, steps[first], strict=True))[len(rates) // 2],
        }
        run = runs[name]
        if isinstance(run, Variant):
            found[name] |= {"mode": run.step.mode, "prepare, s": run.prepare_seconds}
    return found


def few(scale: Scale, shape: Shape) -> Shape:
    """Return the shape with a small batch."""
    return replace(shape, batch_size=scale.few)


def held_mb(device: torch.device) -> float:
    """Return the megabytes that this process holds on a GPU with everything given back; 0 on a CPU."""
    gc.collect()
    if device.type != "cuda":
        return 0.0
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(device) / 1e6
