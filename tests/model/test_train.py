import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.batches import Batches
from model.clock import Stopwatch
from model.config import ModelConfig, TrainConfig
from model.corpus import Corpus
from model.errors import DeviceMemoryError, DivergedError, StoppedError
from model.network import Transformer
from model.schedule import one_cycle
from model.train import Report, Result, _Run, make_optimizer, train

TINY = ModelConfig(n_layer=1, n_head=1, head_dim=16, context=32)
SETTINGS = TrainConfig(batch_size=4, micro_batch=4, max_lr=1e-2)
CPU = torch.device("cpu")


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
    real = _Run._step

    def noted(self: _Run, learning_rate: float) -> None:
        rates.append(learning_rate)
        real(self, learning_rate)

    monkeypatch.setattr(_Run, "_step", noted)
    world = World(monkeypatch, itertools.chain([1.0, 5.0, 2.0, 10.0], itertools.repeat(4.0)))
    run(small, world)
    starts = np.cumsum([0.0, *world.taken])[:-1]
    schedule = {k: getattr(SETTINGS, k) for k in ("max_lr", "pct_start", "div_factor", "final_div_factor")}
    assert rates == pytest.approx([one_cycle(s / 60, **schedule) for s in starts])


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
    assert result.reports[-1].val_bpb == result.val_bpb


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


def test_micro_batches_add_up_to_the_batch(small: Corpus) -> None:
    """Gradients of 7 sequences in micro-batches of 3, 3 and 1 equal those of all 7 at once."""
    rows = Batches(small.train, small.tokenizer.separator, TINY.context, 0).next(7)
    gradients = []
    for micro_batch in (7, 3):
        training = TrainConfig(batch_size=7, micro_batch=micro_batch)
        state = _Run(TINY, training, small, 0, 2000, CPU, lambda: 0.0, lambda: False)
        state._accumulate(rows, 7)
        gradients.append([p.grad for p in state.network.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_warming_up_teaches_nothing(small: Corpus) -> None:
    state = _Run(TINY, SETTINGS, small, 0, 2000, CPU, lambda: 0.0, lambda: False)
    before = [p.detach().clone() for p in state.network.parameters()]
    random_state = torch.get_rng_state()
    state.warm_up()
    assert all(torch.equal(a, b) for a, b in zip(before, state.network.parameters(), strict=True))
    assert all(p.grad is None for p in state.network.parameters())
    assert not state.optimizer.state
    assert torch.equal(random_state, torch.get_rng_state())
    fresh = Batches(small.train, small.tokenizer.separator, TINY.context, 0)
    assert torch.equal(state.batches.next(3), fresh.next(3))


def test_memory_that_runs_out_halves_the_micro_batch(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _Run._accumulate

    def scarce(self: _Run, rows: torch.Tensor, batch_size: int) -> None:
        if self.micro_batch > 1:
            raise torch.OutOfMemoryError
        real(self, rows, batch_size)

    monkeypatch.setattr(_Run, "_accumulate", scarce)
    assert run(small, World(monkeypatch, itertools.repeat(20.0))).micro_batch == 1

    def nothing_fits(self: _Run, rows: torch.Tensor, batch_size: int) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(_Run, "_accumulate", nothing_fits)
    with pytest.raises(DeviceMemoryError, match="not even one sequence of 32 tokens"):
        run(small, World(monkeypatch, itertools.repeat(20.0)))


def test_divergence_ends_the_run(small: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = dataclasses.replace(SETTINGS, max_lr=1.0, grad_clip=1e9, div_factor=1.0)
    with pytest.raises(DivergedError, match=r"BPB at \d+% of the budget; a uniform guess has"):
        train(TINY, wild, small, budget_seconds=60, seed=0, clock=World(monkeypatch, itertools.repeat(0.5)))


def test_a_real_network_learns_more_than_counting_can(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 steps on real text: below the unigram bound, which no model that ignores order can beat."""
    config = ModelConfig(n_layer=2, n_head=2, head_dim=32, context=64)
    training = TrainConfig(batch_size=4, micro_batch=4, max_lr=1e-2)
    world = World(monkeypatch, itertools.repeat(1.0))
    text = dataclasses.replace(corpus, validation=corpus.validation.subset(20_000))
    result = train(config, training, text, budget_seconds=400, seed=0, clock=world, report_points=(50, 100))
    assert result.val_bpb is not None
    assert result.val_bpb < 0.95 * corpus.unigram_bpb < corpus.uniform_bpb
    assert result.tokens == 400 * 4 * 64


def test_only_matrices_decay() -> None:
    optimizer = make_optimizer(Transformer(TINY, 64), SETTINGS)
    decayed, kept = optimizer.param_groups
    assert decayed["weight_decay"] == SETTINGS.weight_decay
    assert kept["weight_decay"] == 0
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim < 2 for p in kept["params"])


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
