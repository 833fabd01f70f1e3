"""Training one configuration for a fixed time: the clock is the budget.

On the clock: data, forward, backward, optimizer. Off it, and reported apart: start-up with its warm-up, and
evaluation.
"""

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.batches import Batches
from model.clock import SYSTEM_CLOCK, Clock, Stopwatch
from model.config import ModelConfig, TrainConfig
from model.corpus import Corpus, Tokens
from model.device import Pace, autocast, fast_matmul, to_device
from model.errors import DeviceMemoryError, DivergedError, StoppedError
from model.evaluate import val_bpb
from model.network import Transformer
from model.schedule import one_cycle

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
    startup_seconds: float
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
    report_points: Sequence[int] = EVERY_FIVE,
    report_bytes: int = 262_144,
    device: torch.device | None = None,
    clock: Clock = SYSTEM_CLOCK,
    on_report: Callable[[Report], bool] = lambda report: True,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Train until the clock says stop; weights and data order are functions of the seed.

    A step starts only while budget is left, so that it is exceeded by less than one step. `on_report` is called
    at each of the `report_points` (percents of the budget, 100 the last) and returns whether to go on. Raises
    `DivergedError`, `DeviceMemoryError`, and `StoppedError` once `should_stop` returns True.
    """
    run = _Run(config, training, corpus, seed, report_bytes, device or torch.device("cpu"), clock, should_stop)
    with fast_matmul(run.device):
        with run.starting.running():
            run.warm_up()
        with _no_garbage_collection():
            final = run.loop(budget_seconds, sorted(report_points), on_report)
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
        seed: int,
        report_bytes: int,
        device: torch.device,
        clock: Clock,
        should_stop: Callable[[], bool],
    ) -> None:
        self.whole, self.starting, self.training, self.evaluating = (Stopwatch(clock) for _ in range(4))
        self.whole.start()
        with self.starting.running():
            self.device, self.corpus, self.settings, self.should_stop = device, corpus, training, should_stop
            generator = torch.Generator().manual_seed(seed)
            self.network = Transformer(config, corpus.tokenizer.vocab_size, generator).to(device)
            self.optimizer = make_optimizer(self.network, training)
            self.batches = Batches(corpus.train, corpus.tokenizer.separator, config.context, seed)
            self.report_text = corpus.validation.subset(report_bytes)
            self.pace = Pace(device, clock)
        self.micro_batch = min(training.micro_batch, training.batch_size)
        self.reports: list[Report] = []
        self.steps = 0

    @property
    def tokens(self) -> int:
        return self.steps * self.settings.batch_size * self.network.config.context

    def warm_up(self) -> None:
        """Run the shapes once off the clock, halving the micro-batch until it fits; nothing is learned from it."""
        shape = (self.network.config.context + 1,)
        while True:
            try:
                rows = torch.zeros((self.micro_batch, *shape), dtype=torch.int64)
                self._accumulate(rows, self.micro_batch)
                break
            except torch.OutOfMemoryError:
                if self.micro_batch == 1:
                    raise DeviceMemoryError(
                        f"not even one sequence of {self.network.config.context} tokens fits into the memory of "
                        f"{self.device} beside {count(self.network):,} parameters"
                    ) from None
                self.micro_batch //= 2
        self.optimizer.zero_grad(set_to_none=True)
        self.pace.settle()

    def loop(self, budget_seconds: float, points: list[int], on_report: Callable[[Report], bool]) -> float | None:
        """Train to the end of the budget; returns the final BPB, or None when a report stopped the run."""
        due = [p for p in points if p < 100]
        self.training.start()
        while (elapsed := self.training.seconds + self.pace.in_flight_seconds) < budget_seconds:
            if self.should_stop():
                raise StoppedError("stopped before the budget was spent")
            rate = self._rate(elapsed / budget_seconds)
            self._step(rate)
            progress = 100 * self.training.seconds / budget_seconds
            if due and progress >= due[0]:
                passed = [p for p in due if p <= progress]
                due = due[len(passed) :]
                if not self._report_all(passed, rate, on_report):
                    return None
        self.pace.settle()
        self.training.pause()
        final = self._measure(self.corpus.validation, 100)
        self._report(100, final, self._rate(1.0), on_report)
        return final

    def _rate(self, progress: float) -> float:
        s = self.settings
        return one_cycle(
            progress,
            max_lr=s.max_lr,
            pct_start=s.pct_start,
            div_factor=s.div_factor,
            final_div_factor=s.final_div_factor,
        )

    def _step(self, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self._accumulate(self.batches.next(self.settings.batch_size), self.settings.batch_size)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.pace.step_launched()

    def _accumulate(self, rows: Tensor, batch_size: int) -> None:
        """Add up the gradient of the batch's mean loss, micro-batch by micro-batch."""
        for micro in torch.split(to_device(rows, self.device), self.micro_batch):
            with autocast(self.device):
                logits = self.network(micro[:, :-1])
            loss = F.cross_entropy(logits.float().flatten(0, 1), micro[:, 1:].flatten())
            torch.autograd.backward(loss * (len(micro) / batch_size))

    def _report_all(self, percents: list[int], rate: float, on_report: Callable[[Report], bool]) -> bool:
        """Measure once, off the clock, for every report point that the last step passed."""
        self.pace.settle()
        with self.training.paused():
            bpb = self._measure(self.report_text, percents[-1])
            wanted = [self._report(p, bpb, rate, on_report) for p in percents]
        return all(wanted)

    def _measure(self, tokens: Tokens, percent: int) -> float:
        with self.evaluating.running():
            bpb = val_bpb(self.network, tokens, self.corpus.tokenizer.separator, self.should_stop)
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
        return Result(
            val_bpb=final,
            reports=tuple(self.reports),
            network=self.network,
            n_params=count(self.network),
            steps=self.steps,
            tokens=self.tokens,
            micro_batch=self.micro_batch,
            startup_seconds=self.starting.seconds,
            train_seconds=self.training.seconds,
            evaluate_seconds=self.evaluating.seconds,
            total_seconds=self.whole.seconds,
        )


def count(network: Transformer) -> int:
    """Return the number of parameters, tied embeddings counted once."""
    return sum(p.numel() for p in network.parameters())


def make_optimizer(network: Transformer, training: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), decaying matrices only; fused."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    vectors = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": training.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=training.max_lr, betas=(training.beta1, training.beta2), fused=True)
