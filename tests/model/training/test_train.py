import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.config import ModelConfig, TrainConfig
from model.data.batches import Batches
from model.data.corpus import Corpus
from model.errors import DeviceMemoryError, DivergedError, StoppedError
from model.network.transformer import Transformer
from model.schedule import learning_rate
from model.training.clock import Stopwatch
from model.training.micro_batches import MicroBatches
from model.training.result import Report, Result
from model.training.step import Step
from model.training.train import train

TINY = ModelConfig(n_layer=1, n_head=1, head_dim=16, context=32)
SETTINGS = TrainConfig(batch_size=4, micro_batch=4, max_lr=1e-2)


class World:
    """A clock that moves only while batches are fetched: step i takes `step_seconds[i]`."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, step_seconds: "itertools.chain[float] | itertools.repeat[float]"
    ) -> None:
        self.now = 0.0
        self.taken: list[float] = []
        real = Batches.next

        def timed(batches: Batches, batch_size: int) -> torch.Tensor:
            self.taken.append(next(step_seconds))
            self.now += self.taken[-1]
            return real(batches, batch_size)

        monkeypatch.setattr(Batches, "next", timed)

    def __call__(self) -> float:
        return self.now


def run(corpus: Corpus, clock: World, budget: float = 60.0, **options: object) -> Result:
    defaults: dict[str, object] = {"seed": 0, "report_points": (25, 50, 75, 100), "report_bytes": 2000}
    return train(TINY, SETTINGS, corpus, budget_seconds=budget, clock=clock, **{**defaults, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small(corpus: Corpus) -> Corpus:
    """The real corpus with little validation text, so that a run is quick."""
    return dataclasses.replace(corpus, validation=corpus.validation.subset(3000))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0.2, 9.0), min_size=1, max_size=30))
def test_never_over_budget_by_more_than_a_step(small: Corpus, seconds: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        world = World(patch, itertools.chain(seconds, itertools.repeat(3.0)))
        result = run(small, world)
    assert result.train_seconds >= 60.0
    assert result.train_seconds - world.taken[-1] < 60.0
    assert result.train_seconds == pytest.approx(sum(world.taken))
    assert result.steps == len(world.taken)
    assert [r.percent for r in result.reports] == [25, 50, 75, 100]


def test_the_rate_follows_the_clock_not_the_steps(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    real = Step.__call__

    def noted(self: Step, rows: torch.Tensor, rate: float) -> None:
        rates.append(rate)
        real(self, rows, rate)

    monkeypatch.setattr(Step, "__call__", noted)
    world = World(monkeypatch, itertools.chain([1.0, 5.0, 2.0, 10.0], itertools.repeat(4.0)))
    run(small, world)
    starts = np.cumsum([0.0, *world.taken])[:-1]
    names = ("max_lr", "pct_start", "div_factor", "final_div_factor", "decay_fraction")
    shape = {k: getattr(SETTINGS, k) for k in names}
    assert rates == pytest.approx([learning_rate("one_cycle", s / 60, **shape) for s in starts])


def test_evaluation_is_off_the_clock(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, itertools.repeat(2.0))

    def slow_report(report: Report) -> bool:
        world.now += 1000.0
        return True

    result = run(small, world, on_report=slow_report)
    assert result.train_seconds == pytest.approx(60.0)
    assert result.total_seconds == pytest.approx(60.0 + 4 * 1000)


def test_a_step_over_several_report_points_reports_each(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(small, World(monkeypatch, itertools.chain([40.0], itertools.repeat(10.0))))
    assert [(r.percent, r.steps) for r in result.reports] == [(25, 1), (50, 1), (75, 2), (100, 3)]
    assert result.reports[0].val_bpb == result.reports[1].val_bpb
    assert result.reports[0].train_bpb == result.reports[1].train_bpb != result.reports[2].train_bpb
    assert result.reports[-1].val_bpb == result.val_bpb


def test_the_training_loss_is_that_of_the_batches_since_the_last_report(
    small: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate of almost nothing: each batch is measured by the first weights, here with torch's own cross-entropy."""
    batches: list[torch.Tensor] = []
    real = Step.__call__

    def noted(self: Step, rows: torch.Tensor, rate: float) -> None:
        batches.append(rows)
        real(self, rows, rate)

    monkeypatch.setattr(Step, "__call__", noted)
    still = dataclasses.replace(SETTINGS, max_lr=1e-12, weight_decay=0.0, micro_batch=2)
    world = World(monkeypatch, itertools.chain([40.0], itertools.repeat(10.0)))
    options = {"report_points": (25, 50, 75, 100), "report_bytes": 2000}
    result = train(TINY, still, small, budget_seconds=90, seed=0, clock=world, **options)  # type: ignore[arg-type]
    assert [r.steps for r in result.reports] == [1, 2, 4, 6]
    document_tokens, document_bytes = len(small.train.ids), int(small.train.text_bytes.sum())
    expected = []
    for first, last in ((0, 1), (1, 2), (2, 4), (4, 6)):
        rows = torch.cat(batches[first:last])
        with torch.inference_mode():
            logits = result.network(rows[:, :-1])
        nats = torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), rows[:, 1:].flatten())
        expected.append(float(nats) / math.log(2) * document_tokens / document_bytes)
    assert [r.train_bpb for r in result.reports] == pytest.approx(expected, rel=1e-5)
    assert result.train_bpb == result.reports[-1].train_bpb


def test_a_report_can_stop_the_run(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(small, World(monkeypatch, itertools.repeat(2.0)), on_report=lambda r: r.percent < 50)
    assert result.val_bpb is None
    assert [r.percent for r in result.reports] == [25, 50]


def test_stopping_on_request(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, itertools.repeat(2.0))
    with pytest.raises(StoppedError):
        run(small, world, should_stop=lambda: world.now >= 10)
    assert world.now == 10


def test_equal_seeds_agree_bit_for_bit_and_others_do_not(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for seed in (1, 1, 2):
        with monkeypatch.context() as patch:
            results.append(run(small, World(patch, itertools.repeat(2.0)), seed=seed))
    first, same, other = ([p.detach() for p in r.network.parameters()] for r in results)
    assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert results[0].val_bpb == results[1].val_bpb != results[2].val_bpb


def test_memory_is_asked_for_once_and_remembered(
    small: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Four sequences don't fit, two do: found once, and not looked for in the second run."""
    tried: list[int] = []
    real = Step._accumulate

    def scarce(self: Step, rows: torch.Tensor, **_: object) -> None:
        tried.append(len(rows))
        if len(rows) > 2:
            raise torch.OutOfMemoryError
        real(self, rows)

    monkeypatch.setattr(Step, "_accumulate", scarce)
    for expected in ([4, 2], [2]):
        tried.clear()
        with monkeypatch.context() as patch:
            result = run(small, World(patch, itertools.repeat(70.0)), micro_batches=MicroBatches(tmp_path))
        assert result.micro_batch == 2
        assert tried == [*expected, 2, 2]  # and the two halves of the only step


def test_memory_that_runs_out_later_is_looked_for_anew(
    small: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    remembered = MicroBatches(tmp_path)
    world = World(monkeypatch, itertools.repeat(1.0))
    real = Step._accumulate

    def taken_away(self: Step, rows: torch.Tensor, **_: object) -> None:
        if world.now >= 3:
            raise torch.OutOfMemoryError
        real(self, rows)

    monkeypatch.setattr(Step, "_accumulate", taken_away)
    with pytest.raises(DeviceMemoryError, match="ran out after 2 steps"):
        run(small, world, micro_batches=remembered)
    assert list(tmp_path.iterdir()) == []


def test_a_fault_is_not_taken_for_lack_of_memory(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Step, rows: torch.Tensor, **_: object) -> None:
        raise RuntimeError("shapes don't match")

    monkeypatch.setattr(Step, "_accumulate", broken)
    with pytest.raises(RuntimeError, match="shapes don't match"):
        run(small, World(monkeypatch, itertools.repeat(20.0)))


SHAPES = [
    {"schedule": "one_cycle", "pct_start": 0.25},
    {"schedule": "warmup_stable_decay", "pct_start": 0.05, "decay_fraction": 0.9},
    {"schedule": "linear", "average_fraction": 0.8},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: s["schedule"])
def test_a_prefix_is_the_long_runs_first_part(
    shape: dict[str, object], small: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 of 60 s: the same rates, step for step, the same weights and the same loss as at 40% of the long run.

    The weights that the long run hands out there are those that the short one ends with.
    """
    training = dataclasses.replace(SETTINGS, **shape)  # type: ignore[arg-type]
    real = Step.__call__

    def trained(budget: float, **options: object) -> tuple[Result, list[float], list[torch.Tensor]]:
        rates: list[float] = []
        weights: list[torch.Tensor] = []

        def noted(self: Step, rows: torch.Tensor, rate: float) -> None:
            real(self, rows, rate)
            rates.append(rate)
            weights.append(torch.cat([p.detach().flatten() for p in self.network.parameters()]))

        with monkeypatch.context() as patch:
            patch.setattr(Step, "__call__", noted)
            world = World(patch, itertools.chain([1.0, 5.0, 2.0, 4.0], itertools.repeat(3.0)))
            options = {"report_bytes": 10**9, **options}
            result = train(TINY, training, small, budget_seconds=budget, seed=3, clock=world, **options)  # type: ignore[arg-type]
        return result, rates, weights

    handed: dict[int, list[torch.Tensor]] = {}

    def keep(percent: int, network: Transformer) -> None:
        handed[percent] = [p.detach().clone() for p in network.parameters()]

    long, all_rates, all_weights = trained(60.0, report_points=(40, 100), on_weights=keep)
    short, rates, weights = trained(24.0, horizon_seconds=60.0, report_points=(50, 100))
    whole, other_rates, _ = trained(24.0, report_points=(50, 100))
    assert rates == all_rates[: short.steps] != other_rates
    assert all(torch.equal(a, b) for a, b in zip(weights, all_weights, strict=False))
    assert [r.train_seconds for r in short.reports] == [12.0, 24.0] == [r.train_seconds for r in whole.reports]
    assert short.val_bpb == long.reports[0].val_bpb != whole.val_bpb
    assert short.steps == long.reports[0].steps < long.steps
    assert list(handed) == [40]
    assert all(torch.equal(a, b) for a, b in zip(handed[40], short.network.parameters(), strict=True))


def test_a_horizon_shorter_than_the_budget_is_refused(small: Corpus) -> None:
    with pytest.raises(ValueError, match=r"`horizon_seconds` is 5, but must be >= budget_seconds \(60\)"):
        train(TINY, SETTINGS, small, budget_seconds=60, horizon_seconds=5, seed=0)


def test_the_result_is_the_mean_of_the_last_weights(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps; the last three (from 70%) are averaged: compare with the weights noted after each."""
    noted: list[list[torch.Tensor]] = []
    real = Step.__call__

    def note(self: Step, rows: torch.Tensor, rate: float) -> None:
        real(self, rows, rate)
        noted.append([p.detach().clone() for p in self.network.parameters()])

    monkeypatch.setattr(Step, "__call__", note)
    averaged = dataclasses.replace(SETTINGS, average_fraction=0.3)
    clock = World(monkeypatch, itertools.repeat(6.0))
    result = train(TINY, averaged, small, budget_seconds=60, seed=0, clock=clock, report_points=(90, 100))
    assert len(noted) == 10
    expected = [torch.stack(ps).mean(0) for ps in zip(*noted[-3:], strict=True)]
    for p, mean in zip(result.network.parameters(), expected, strict=True):
        torch.testing.assert_close(p.detach(), mean)


def test_divergence_ends_the_run(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = dataclasses.replace(SETTINGS, max_lr=1.0, grad_clip=1e9, div_factor=1.0)
    with pytest.raises(DivergedError, match=r"BPB at \d+% of the budget; a uniform guess has"):
        train(TINY, wild, small, budget_seconds=60, seed=0, clock=World(monkeypatch, itertools.repeat(0.5)))


def test_a_real_network_learns_more_than_counting_can(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """60 steps on real text: below the unigram bound, which no model that ignores order can beat."""
    config = ModelConfig(n_layer=2, n_head=2, head_dim=32, context=64)
    training = TrainConfig(batch_size=4, micro_batch=4, max_lr=0.03, optimizer="muon", compile="off")
    world = World(monkeypatch, itertools.repeat(1.0))
    text = dataclasses.replace(corpus, validation=corpus.validation.subset(20_000))
    result = train(config, training, text, budget_seconds=60, seed=0, clock=world, report_points=(50, 100))
    assert result.val_bpb is not None
    assert result.val_bpb < 0.95 * corpus.unigram_bpb < corpus.uniform_bpb
    assert result.tokens == 60 * 4 * 64


def test_a_stopwatch_counts_what_runs() -> None:
    now = 0.0
    watch = Stopwatch(lambda: now)
    for running, seconds in ((False, 5.0), (True, 2.0), (False, 7.0), (True, 1.5)):
        watch.start() if running else watch.pause()
        now += seconds
    assert watch.seconds == 3.5
    with watch.paused():
        now += 10
    assert math.isclose(watch.seconds, 3.5)
