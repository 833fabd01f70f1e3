"""Training one configuration for a fixed time: the clock is the budget.

On the clock: data, forward, backward, optimizer. Off it, and reported apart: start-up, compilation with the warm-up,
and evaluation.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from model.batches import Batches
from model.clock import SYSTEM_CLOCK, Clock, Stopwatch
from model.config import ModelConfig, TrainConfig
from model.corpus import Corpus, Tokens
from model.counts import flops_per_token
from model.device import Pace, fast_matmul, out_of_memory
from model.errors import DeviceMemoryError, DivergedError, StoppedError
from model.evaluate import val_bpb
from model.network import Transformer
from model.optimizer import Average
from model.peak import peak_flops
from model.remember import MicroBatches, shape_key
from model.schedule import learning_rate
from model.step import Step

EVERY_FIVE = tuple(range(5, 101, 5))
HOPELESS = 1.05
"""Times a uniform guess's BPB on the same text: a run above has diverged; untrained networks are within it."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known at a report point."""

    percent: int
    val_bpb: float
    train_seconds: float
    tokens: int
    steps: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run's end. `val_bpb` is over the full validation text, or None when a report stopped the run."""

    val_bpb: float | None
    reports: tuple[Report, ...]
    network: Transformer
    n_params: int
    steps: int
    tokens: int
    micro_batch: int
    mode: str
    """How steps were run: eager or compiled, with CUDA graphs or without."""
    precision: str
    """Of matrix products."""
    mfu: float
    """Model FLOPs utilisation: operations that the model needs ÷ what the device could have done in that time."""
    startup_seconds: float
    compile_seconds: float
    train_seconds: float
    evaluate_seconds: float
    total_seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Training tokens per second on the clock."""
        return self.tokens / self.train_seconds if self.train_seconds > 0 else 0.0


def train(
    config: ModelConfig,
    training: TrainConfig,
    corpus: Corpus,
    *,
    budget_seconds: float,
    seed: int,
    horizon_seconds: float | None = None,
    report_points: Sequence[int] = EVERY_FIVE,
    report_bytes: int = 262_144,
    device: torch.device | None = None,
    clock: Clock = SYSTEM_CLOCK,
    micro_batches: MicroBatches | None = None,
    on_report: Callable[[Report], bool] = lambda report: True,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train until the clock says stop; weights and data order are functions of the seed.

    A step starts only while budget is left, so that it is exceeded by less than one step. `on_report` is called
    at each of the `report_points` (percents of the budget, 100 the last) and returns whether to go on.
    `horizon_seconds`, by default the budget, is the budget whose schedule is followed: a run that is shorter is the
    first part of one that isn't, step for step where the clock agrees, and ends with its rate and averaging unfinished.
    `micro_batches` remembers what fitted into the device's memory. Raises `DivergedError`, `DeviceMemoryError`,
    `CompileError`, and `StoppedError` once `should_stop` returns True.
    """
    device = device or torch.device("cpu")
    horizon = budget_seconds if horizon_seconds is None else horizon_seconds
    if horizon < budget_seconds:
        raise ValueError(f"`horizon_seconds` is {horizon}, but must be >= budget_seconds ({budget_seconds})")
    with fast_matmul(device):
        run = _Run(config, training, corpus, budget_seconds, horizon, seed, report_bytes, device, clock, should_stop)
        run.prepare(micro_batches or MicroBatches(None))
        try:
            with _no_garbage_collection():
                final = run.loop(sorted(report_points), on_report)
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise run.out_of_memory_later() from None
        return run.result(final)


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection in the middle of a step would be paid from the budget."""
    was = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Run:
    """The state of one run."""

    def __init__(
        self,
        config: ModelConfig,
        training: TrainConfig,
        corpus: Corpus,
        budget_seconds: float,
        horizon_seconds: float,
        seed: int,
        report_bytes: int,
        device: torch.device,
        clock: Clock,
        should_stop: Callable[[], bool],
    ) -> None:
        watches = (Stopwatch(clock) for _ in range(5))
        self.whole, self.starting, self.compiling, self.training, self.evaluating = watches
        self.whole.start()
        with self.starting.running():
            self.corpus, self.settings, self.should_stop = corpus, training, should_stop
            self.budget_seconds, self.horizon_seconds = budget_seconds, horizon_seconds
            generator = torch.Generator().manual_seed(seed)
            self.network = Transformer(config, corpus.tokenizer.vocab_size, generator).to(device)
            self.step = Step(self.network, training, horizon_seconds)  # compiled or not, as the long run is
            self.batches = Batches(corpus.train, corpus.tokenizer.separator, config.context, seed)
            self.report_text = corpus.validation.subset(report_bytes)
            self.pace = Pace(device, clock)
            self.average = Average(self.step.optimizer.parameters) if training.average_fraction else None
        self.reports: list[Report] = []
        self.steps = 0

    @property
    def tokens(self) -> int:
        return self.steps * self.settings.batch_size * self.network.config.context

    def prepare(self, remembered: MicroBatches) -> None:
        """Find the micro-batch, compile, warm up: off the clock."""
        step, network = self.step, self.network
        with self.compiling.running():
            if step.compiled:
                torch.compiler.reset()  # of other runs' shapes, which count towards the compiler's limit
            self.key = shape_key(network.config, network.vocab_size, self.settings, step.device, step.mode)
            step.prepare(remembered.get(self.key))
            remembered.put(self.key, step.micro_batch)
            self.remembered = remembered
            self.pace.settle()

    def out_of_memory_later(self) -> DeviceMemoryError:
        """Return what to say when memory runs out in mid-run, and have the micro-batch found anew the next time."""
        self.remembered.forget(self.key)
        return DeviceMemoryError(
            f"memory of {self.step.device} ran out after {self.steps} steps, though a micro-batch of "
            f"{self.step.micro_batch} had fitted; is something else using it?"
        )

    def loop(self, points: list[int], on_report: Callable[[Report], bool]) -> float | None:
        """Train to the end of the budget; returns the final BPB, or None when a report stopped the run."""
        due = [p for p in points if p < 100]
        budget = self.budget_seconds
        self.training.start()
        while (elapsed := self.training.seconds + self.pace.in_flight_seconds) < budget:
            if self.should_stop():
                raise StoppedError("stopped before the budget was spent")
            rate = self._rate(elapsed)
            self._take_step(rate, elapsed)
            percent = 100 * self.training.seconds / budget
            if due and percent >= due[0]:
                passed = [p for p in due if p <= percent]
                due = due[len(passed) :]
                if not self._report_all(passed, rate, on_report):
                    return None
        self.pace.settle()
        self.training.pause()
        if self.average is not None:
            self.average.swap()
        final = self._measure(self.corpus.validation, 100)
        self._report(100, final, self._rate(budget), on_report)
        return final

    def _rate(self, seconds: float) -> float:
        s = self.settings
        return learning_rate(
            s.schedule,
            seconds / self.horizon_seconds,
            max_lr=s.max_lr,
            pct_start=s.pct_start,
            div_factor=s.div_factor,
            final_div_factor=s.final_div_factor,
            decay_fraction=s.decay_fraction,
        )

    def _take_step(self, rate: float, seconds: float) -> None:
        self.step(self.batches.next(self.settings.batch_size), rate)
        if self.average is not None and seconds / self.horizon_seconds >= 1 - self.settings.average_fraction:
            self.average.add()
        self.steps += 1
        self.pace.step_launched()

    def _report_all(self, percents: list[int], rate: float, on_report: Callable[[Report], bool]) -> bool:
        """Measure once, off the clock, for every report point that the last step passed."""
        self.pace.settle()
        with self.training.paused():
            with self._averaged():
                bpb = self._measure(self.report_text, percents[-1])
            wanted = [self._report(p, bpb, rate, on_report) for p in percents]
        return all(wanted)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the weights' mean in their place, as the end of the run will."""
        if self.average is not None:
            self.average.swap()
        yield
        if self.average is not None:
            self.average.swap()

    def _measure(self, tokens: Tokens, percent: int) -> float:
        with self.evaluating.running():
            bpb = val_bpb(self.network, tokens, self.corpus.tokenizer.separator, self.should_stop, self.step.dtype)
        uniform = tokens.uniform_bpb(self.network.vocab_size)
        if not bpb <= HOPELESS * uniform:
            raise DivergedError(f"{bpb:.4g} BPB at {percent}% of the budget; a uniform guess has {uniform:.4g}")
        return bpb

    def _report(self, percent: int, bpb: float, rate: float, on_report: Callable[[Report], bool]) -> bool:
        report = Report(
            percent=percent,
            val_bpb=bpb,
            train_seconds=self.training.seconds,
            tokens=self.tokens,
            steps=self.steps,
            learning_rate=rate,
        )
        self.reports.append(report)
        return on_report(report)

    def result(self, final: float | None) -> Result:
        """Return the run's end."""
        network, step = self.network, self.step
        flops = self.tokens * flops_per_token(network.config, network.vocab_size)
        peak = peak_flops(step.device, step.dtype) * self.training.seconds
        return Result(
            val_bpb=final,
            reports=tuple(self.reports),
            network=network,
            n_params=count(network),
            steps=self.steps,
            tokens=self.tokens,
            micro_batch=step.micro_batch,
            mode=step.mode,
            precision=str(step.dtype).removeprefix("torch."),
            mfu=flops / peak if peak else 0.0,
            startup_seconds=self.starting.seconds,
            compile_seconds=self.compiling.seconds,
            train_seconds=self.training.seconds,
            evaluate_seconds=self.evaluating.seconds,
            total_seconds=self.whole.seconds,
        )


def count(network: Transformer) -> int:
    """Return the number of parameters, tied embeddings counted once."""
    return sum(p.numel() for p in network.parameters())
