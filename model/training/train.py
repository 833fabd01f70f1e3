"""Training one configuration for a fixed time: the clock is the budget.

On the clock: data, forward, backward, optimizer. Off it, and reported apart: start-up, compilation with the warm-up,
and evaluation.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict

import torch
from torch import Tensor

from model.config import ModelConfig, TrainConfig
from model.data.batches import Batches
from model.data.corpus import Corpus
from model.data.tokens import Tokens
from model.errors import DeviceMemoryError, DivergedError, StoppedError
from model.evaluate import rehearse, val_bpb
from model.network.device import on_device, out_of_memory
from model.network.flops import count_active_parameters, flops_per_token
from model.network.transformer import Transformer
from model.schedule import learning_rate
from model.training.clock import SYSTEM_CLOCK, Clock, Stopwatch, no_garbage_collection
from model.training.micro_batches import MicroBatches, shape_key
from model.training.optimizer import Average
from model.training.pacing import Pace
from model.training.peak_flops import peak_flops
from model.training.result import Report, Result
from model.training.resume_state import Keeper, TrainingState, alike, copy_into, identity, load, save
from model.training.step import Step

EVERY_FIVE = tuple(range(5, 101, 5))
HOPELESS = 1.05
"""Times a uniform guess's BPB on the same text: a run above has diverged; untrained networks are within it."""


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
    keeper: Keeper | None = None,
    on_weights: Callable[[int, Transformer], None] | None = None,
) -> Result:
    """Train until the clock says stop; weights and data order are functions of the seed.

    A step starts only while budget is left: on a CPU it is exceeded by less than one step. On a GPU the step in flight
    is counted by the length of the one before, so that a run ends up to one step early. `on_report` is called at each
    of the `report_points` (percents of the budget, 100 the last) and returns whether to go on. `horizon_seconds`, by
    default the budget, is the budget whose schedule is followed: a run that is shorter is the first part of one that
    isn't, step for step where the clock agrees, and ends with its rate and averaging unfinished. The device is torch's
    current one while this runs. `micro_batches` remembers what fitted into its memory. `keeper` is offered the run's
    state after each report and when it is stopped, and may hand one back at the start, from which the run goes on as if
    it had never been cut off: the time spent until then is on the clock, and nothing is reported twice.
    `on_weights` is called off the clock at each report point before the end, with its percent and the network as it was
    measured there. Raises `DivergedError`, `DeviceMemoryError`, `CompileError`, `CaptureError`, and `StoppedError` once
    `should_stop` returns True.
    """
    device = device or torch.device("cpu")
    horizon = budget_seconds if horizon_seconds is None else horizon_seconds
    if horizon < budget_seconds:
        raise ValueError(f"`horizon_seconds` is {horizon}, but must be >= budget_seconds ({budget_seconds})")
    with on_device(device):
        run = _Run(config, training, corpus, budget_seconds, horizon, seed, report_bytes, device, clock, should_stop)
        run.on_weights = on_weights
        run.prepare(micro_batches or MicroBatches(None))
        try:
            run.go_on_from(keeper, points := sorted(report_points))
            with no_garbage_collection():
                final = run.loop(points, on_report)
        except StoppedError:
            run.keep()  # nothing is lost
            raise
        except Exception as error:
            if not out_of_memory(error):
                raise
            raise run.out_of_memory_later() from None
        return run.result(final)


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
            self.corpus, self.settings, self.should_stop, self.seed = corpus, training, should_stop, seed
            self.budget_seconds, self.horizon_seconds, self.report_bytes = budget_seconds, horizon_seconds, report_bytes
            generator = torch.Generator().manual_seed(seed)
            self.network = Transformer(config, corpus.tokenizer.vocab_size, generator).to(device)
            self.step = Step(self.network, training, horizon_seconds)  # compiled or not, as the long run is
            self.batches = Batches(corpus.train, corpus.tokenizer.separator, config.context, seed)
            self.report_text = corpus.validation.subset(report_bytes)
            self.pace = Pace(device, clock)
            self.average = Average(self.step.optimizer.parameters if training.average_fraction else [])
        self.reports: list[Report] = []
        self.steps, self.rate = 0, 0.0
        self.keeper: Keeper | None = None
        self.on_weights: Callable[[int, Transformer], None] | None = None

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
            if step.compiled and step.device.type == "cpu":
                rehearse(network, step.dtype, compiled=True)
            self.pace.settle()

    def out_of_memory_later(self) -> DeviceMemoryError:
        """Return what to say when memory runs out in mid-run, and have the micro-batch found anew the next time."""
        self.remembered.forget(self.key)
        return DeviceMemoryError(
            f"memory of {self.step.device} ran out after {self.steps} steps, though a micro-batch of "
            f"{self.step.micro_batch} had fitted; is something else using it?"
        )

    def go_on_from(self, keeper: Keeper | None, points: list[int]) -> None:
        """Take up what a keeper has of this very run; a damaged state, or another run's, is as none."""
        self.keeper = keeper
        facts = (self.seed, self.budget_seconds, self.horizon_seconds, self.report_bytes, points, str(self.step.dtype))
        self.identity = identity(self.network.config, self.settings, self.corpus, facts)
        with self.starting.running():
            path = keeper.newest() if keeper is not None else None
            state = load(path, self.identity) if path is not None else None
        if keeper is not None and state is not None and self._take_over(state):
            keeper.resumed(self.reports, self.training.seconds / self.budget_seconds)

    def _take_over(self, state: TrainingState) -> bool:
        if not alike(self._tensors(), state.tensors):
            return False
        copy_into(self._tensors(), state.tensors)
        self.average.count = state.averaged
        for name, watch in self._watches().items():
            watch.add(state.seconds[name])
        self.steps, self.rate = state.steps, state.learning_rate
        self.batches.skip(self.tokens)
        self.reports = [Report(**r) for r in state.reports]
        return True

    def keep(self) -> None:
        """Offer the run as it is now to its keeper; off the clock."""
        self.pace.settle()
        self.training.pause()
        if self.keeper is not None and self.steps:
            self.keeper.keep(self.training.seconds, lambda path: save(path, self._state()))

    def _state(self) -> TrainingState:
        return TrainingState(
            identity=self.identity,
            steps=self.steps,
            learning_rate=self.rate,
            seconds={name: watch.seconds for name, watch in self._watches().items()},
            reports=[asdict(r) for r in self.reports],
            tensors=self._tensors(),
            averaged=self.average.count,
        )

    def _tensors(self) -> list[Tensor]:
        return [*self.step.optimizer.parameters, *self.step.optimizer.state(), *self.average.mean, *self._counters()]

    def _counters(self) -> list[Tensor]:
        return [self.step.nats, *self.step.optimizer.balancing.tallies()]

    def _watches(self) -> dict[str, Stopwatch]:
        names = ("whole", "starting", "compiling", "training", "evaluating")
        return {name: getattr(self, name) for name in names}

    def loop(self, points: list[int], on_report: Callable[[Report], bool]) -> float | None:
        """Train to the end of the budget; returns the final BPB, or None when a report stopped the run.

        All that follows progress goes by the clock and nothing by the number of steps: runs of one budget are compared,
        whatever a step of theirs takes.
        """
        due = [p for p in points if p < 100 and p not in {r.percent for r in self.reports}]
        self.training.start()
        while True:
            # Steps still in flight are not counted as progress: a report speaks of weights that are there.
            percent = 100 * self.training.seconds / self.budget_seconds
            if due and percent >= due[0]:
                passed = [p for p in due if p <= percent]  # several, where a step is longer than the points are apart
                due = due[len(passed) :]
                if not self._report_all(passed, on_report):
                    return None
            # The budget is the device's time, and the host is ahead of it by the step in flight.
            if (elapsed := self.training.seconds + self.pace.in_flight_seconds) >= self.budget_seconds:
                break
            if self.should_stop():
                raise StoppedError("stopped before the budget was spent")
            self._take_step(elapsed)
        # What the device has yet to do is on the clock; the evaluation after it is not.
        self.pace.settle()
        self.training.pause()
        with self.average.in_place():
            final = self._measure(self.corpus.validation, 100)
        self.rate = self._rate(self.budget_seconds)
        self._report(100, final, on_report)
        self.average.swap()  # for good: the averaged weights are the run's result
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

    def _take_step(self, seconds: float) -> None:
        self.rate = self._rate(seconds)
        # The host makes the next batch while the GPU is still busy with the step before.
        self.step(self.batches.next(self.settings.batch_size), self.rate)
        if self.settings.average_fraction and seconds / self.horizon_seconds >= 1 - self.settings.average_fraction:
            self.average.add()
        self.steps += 1
        self.pace.step_launched()

    def _report_all(self, percents: list[int], on_report: Callable[[Report], bool]) -> bool:
        """Measure once, off the clock, for every report point that the last step passed."""
        self.pace.settle()
        with self.training.paused():
            # What is reported is what would be the result now, so that short and long runs are judged by one measure.
            with self.average.in_place():
                bpb = self._measure(self.report_text, percents[-1])
                if self.on_weights is not None:  # read, never written: captured graphs don't notice
                    self.on_weights(percents[-1], self.network)
            wanted = [self._report(p, bpb, on_report) for p in percents]
            if all(wanted):
                self.keep()
        return all(wanted)

    def _measure(self, tokens: Tokens, percent: int) -> float:
        with self.evaluating.running():
            step, separator = self.step, self.corpus.tokenizer.separator
            bpb = val_bpb(self.network, tokens, separator, self.should_stop, step.dtype, step.compiled)
        uniform = tokens.uniform_bpb(self.network.vocab_size)
        if not bpb <= HOPELESS * uniform:
            raise DivergedError(f"{bpb:.4g} BPB at {percent}% of the budget; a uniform guess has {uniform:.4g}")
        return bpb

    def _train_bpb(self) -> float | None:
        """Read off the training loss since the last report, and begin anew; off the clock."""
        last = self.reports[-1] if self.reports else None
        steps = self.steps - (last.steps if last else 0)
        return self.corpus.train.bpb(self.step.take_nats() / steps) if steps else last.train_bpb if last else None

    def _dropped_share(self) -> float | None:
        """Read off the share of dropped choices since the last report, and begin anew; off the clock."""
        share = self.step.optimizer.balancing.take_dropped_share()
        return self.reports[-1].dropped_share if share is None and self.reports else share

    def _report(self, percent: int, bpb: float, on_report: Callable[[Report], bool]) -> bool:
        report = Report(
            percent=percent,
            val_bpb=bpb,
            train_seconds=self.training.seconds,
            tokens=self.tokens,
            steps=self.steps,
            learning_rate=self.rate,
            train_bpb=self._train_bpb(),
            dropped_share=self._dropped_share(),
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
            n_active_params=count_active_parameters(network.config, network.vocab_size),
            steps=self.steps,
            tokens=self.tokens,
            micro_batch=step.micro_batch,
            mode=step.mode,
            precision=step.precision,
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
