"""Training without training: time passes, scaled, and losses are a pure function of what is trained.

A checker can so say of every stored figure whether it is the one that the trainer gave for that trial.
"""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from model.config import ModelConfig, TrainConfig
from model.data.corpus import Corpus
from model.errors import DeviceMemoryError, DivergedError, StoppedError
from model.network.transformer import Transformer
from model.training.result import Report, Result
from search.machine.hardware import Hardware

DIVERGES_AT = 30
"""Percent of the budget at which a configuration that diverges does."""


MACHINE = Hardware(kind="cpu", name="simulated", threads=1, reference_tokens_per_second=20_000.0)
"""What every simulated worker runs on: timing a real step would only time how busy this machine is."""


def luck(*parts: object) -> float:
    """Return a number in [0, 1) that hangs on nothing but these; workers settle `compile`, which changes no loss."""
    same = [replace(part, compile="auto") if isinstance(part, TrainConfig) else part for part in parts]
    digest = hashlib.sha256(repr(tuple(same)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def fate(config: ModelConfig, training: TrainConfig) -> type[Exception] | None:
    """Return by which fault of its own a configuration fails; most don't."""
    drawn = luck("fate", config, training)
    if drawn < 0.02:
        return DeviceMemoryError
    return DivergedError if drawn < 0.05 else None


def loss(config: ModelConfig, training: TrainConfig, seed: int, budget_seconds: float, percent: int) -> float:
    """Return the BPB at a point of the budget: a curve that falls to what the learning rate allows."""
    end = 1.2 + 0.1 * (math.log10(training.max_lr) + 2.5) ** 2 - 0.02 * math.log(budget_seconds / 360)
    end += 0.02 * luck("configuration", config, training) + 0.004 * luck("seed", config, training, seed)
    return end + (0.4 + luck("slope", config, training)) * math.exp(-percent / 25)


@dataclass(frozen=True)
class Simulated:
    """Called as `model.training.train.train` is."""

    scale: float
    """Real seconds for each second of a budget."""
    slice_seconds: float = 0.05
    """Between two looks at `should_stop`, which a real trainer takes at each step."""

    def __call__(
        self,
        config: ModelConfig,
        training: TrainConfig,
        corpus: Corpus,
        *,
        budget_seconds: float,
        seed: int,
        report_points: Sequence[int],
        on_report: Callable[[Report], bool],
        should_stop: Callable[[], bool],
        **_: Any,
    ) -> Result:
        """Let the scaled budget pass, reporting as a trainer does."""
        started, paused, failing = time.monotonic(), 0.0, fate(config, training)
        if failing is DeviceMemoryError:
            raise DeviceMemoryError("not even one sequence fits (simulated)")
        reports: list[Report] = []
        for percent in sorted(report_points):
            self._sleep_until(started + paused + self.scale * budget_seconds * percent / 100, should_stop)
            if failing is DivergedError and percent >= DIVERGES_AT:
                raise DivergedError(f"nan BPB at {percent}% of the budget (simulated)")
            bpb = loss(config, training, seed, budget_seconds, percent)
            reports.append(_report(percent, bpb, budget_seconds))
            before = time.monotonic()
            wanted = on_report(reports[-1])
            paused += time.monotonic() - before  # reports are off the clock
            if not wanted and percent < 100:
                return _result(None, reports, paused, corpus)
        return _result(reports[-1].val_bpb, reports, paused, corpus)

    def _sleep_until(self, due: float, should_stop: Callable[[], bool]) -> None:
        while True:
            if should_stop():
                raise StoppedError("stopped before the budget was spent")
            left = due - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, self.slice_seconds))


def _report(percent: int, bpb: float, budget_seconds: float) -> Report:
    seconds = budget_seconds * percent / 100
    steps = round(10 * seconds)
    return Report(
        percent=percent, val_bpb=bpb, train_seconds=seconds, tokens=1024 * steps, steps=steps, learning_rate=1e-3
    )


@cache
def _network(vocab_size: int) -> Transformer:
    smallest = ModelConfig(n_layer=1, n_head=1, head_dim=2, context=8)
    return Transformer(smallest, vocab_size, torch.Generator().manual_seed(0))


def _result(final: float | None, reports: Sequence[Report], paused: float, corpus: Corpus) -> Result:
    last = reports[-1]
    return Result(
        val_bpb=final,
        reports=tuple(reports),
        network=_network(corpus.tokenizer.vocab_size),
        n_params=1000,
        steps=last.steps,
        tokens=last.tokens,
        micro_batch=1,
        mode="simulated",
        precision="float32",
        mfu=0.0,
        startup_seconds=0.0,
        compile_seconds=0.0,
        train_seconds=last.train_seconds,
        evaluate_seconds=paused,
        total_seconds=last.train_seconds + paused,
    )
