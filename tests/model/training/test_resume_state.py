"""A run that was cut off and gone on from its state ends as one that never was."""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.config import ModelConfig, TrainConfig
from model.data.corpus import Corpus
from model.errors import CheckpointError, StoppedError
from model.training.result import Report, Result
from model.training.resume_state import seconds_in
from model.training.train import train
from tests.model.training.test_train import World, small

__all__ = ["small"]  # the fixture
WIDE = ModelConfig(n_layer=1, n_head=2, head_dim=8, context=16)
TRAINING = TrainConfig(batch_size=4, micro_batch=2, max_lr=1e-2, average_fraction=0.7, schedule="linear")


class Kept:
    """A keeper of one file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[tuple[list[int], float]] = []

    def newest(self) -> Path | None:
        return self.path

    def resumed(self, reports: Sequence[Report], progress: float) -> None:
        self.told.append(([r.percent for r in reports], progress))

    def keep(self, seconds: float, write: Callable[[Path], None]) -> None:
        write(self.path)
        assert seconds_in(self.path) == seconds


def run(corpus: Corpus, training: TrainConfig = TRAINING, budget: float = 60.0, **options: Any) -> Result:
    """Train on a clock of its own; every step takes 4 s, unless `steps` says otherwise."""
    steps, model = options.pop("steps", itertools.repeat(4.0)), options.pop("model", WIDE)
    defaults: dict[str, Any] = {"seed": 3, "report_points": (20, 40, 60, 80, 100), "report_bytes": 2000}
    with pytest.MonkeyPatch.context() as patch:
        clock = World(patch, steps)
        return train(model, training, corpus, budget_seconds=budget, clock=clock, **{**defaults, **options})


def assert_same(result: Result, whole: Result) -> None:
    assert result.reports == whole.reports
    for a, b in zip(result.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(a, b)
    told = ("val_bpb", "steps", "tokens", "train_seconds")
    assert [getattr(result, name) for name in told] == [getattr(whole, name) for name in told]


def after(count: int) -> Callable[[], bool]:
    """Return a `should_stop` that is true from its call number `count` on."""
    calls = itertools.count()
    return lambda: next(calls) >= count


@pytest.fixture(scope="module")
def never_stopped(small: Corpus) -> Result:
    return run(small)


PAIRS = [("adamw", "float32", 90.0), ("adamw", "bfloat16", None), ("muon", "float32", None), ("muon", "bfloat16", 90.0)]


@pytest.mark.parametrize(("optimizer", "precision", "horizon"), PAIRS)
def test_stopped_at_40_percent_it_ends_bit_for_bit_as_if_it_had_not(
    optimizer: str, precision: str, horizon: float | None, small: Corpus, tmp_path: Path
) -> None:
    training = dataclasses.replace(TRAINING, optimizer=optimizer, precision=precision)
    whole = run(small, training, horizon_seconds=horizon)
    kept, seen = Kept(tmp_path / "state"), list[int]()

    def stop_at_40(report: Report) -> bool:
        seen.append(report.percent)
        return True

    options: dict[str, Any] = {"keeper": kept, "horizon_seconds": horizon, "on_report": stop_at_40}
    with pytest.raises(StoppedError):
        run(small, training, should_stop=lambda: 40 in seen, **options)
    result = run(small, training, **options)
    assert kept.told == [([20, 40], 0.4)]
    assert seen == [20, 40, 60, 80, 100]  # none twice
    assert_same(result, whole)


def test_experts_go_on_with_their_biases_and_with_what_was_dropped_since_the_last_report(
    small: Corpus, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"model": dataclasses.replace(WIDE, experts=4, expert_capacity=1.0)}
    whole, kept = run(small, **options), Kept(tmp_path / "state")
    options["keeper"] = kept
    with pytest.raises(StoppedError):
        run(small, should_stop=after(6), **options)
    result = run(small, **options)
    assert kept.told
    assert_same(result, whole)
    assert all(r.dropped_share is not None and 0 < r.dropped_share < 1 for r in result.reports)
    assert any(p.any() for n, p in result.network.named_parameters() if n.endswith("mlp.bias"))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 40), max_size=4), st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_wherever_it_is_stopped_nothing_is_lost(
    small: Corpus, tmp_path_factory: pytest.TempPathFactory, stops: list[int], eighths: list[int]
) -> None:
    """Between any two steps, in any evaluation, again and again; steps of any length."""

    def steps() -> "itertools.chain[float]":
        return itertools.chain([e / 8 for e in eighths], itertools.repeat(4.0))

    whole = run(small, steps=steps())
    kept, left = Kept(tmp_path_factory.mktemp("kept") / "state"), steps()
    for count in stops:
        try:
            assert_same(run(small, keeper=kept, steps=left, should_stop=after(count)), whole)
            return
        except StoppedError:
            pass
    assert_same(run(small, keeper=kept, steps=left), whole)


def test_killed_it_goes_on_from_the_last_report(small: Corpus, never_stopped: Result, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "state")
    with pytest.raises(ZeroDivisionError):  # at 50%, with the state of 40% on disk
        run(small, keeper=kept, steps=(4.0 if i < 8 else 1 / 0 for i in itertools.count()))
    result = run(small, keeper=kept)
    assert kept.told == [([20, 40], 0.4)]
    assert_same(result, never_stopped)


class Slow(Kept):
    """A keeper on a disk that takes 10 s for each state."""

    world: World

    def keep(self, seconds: float, write: Callable[[Path], None]) -> None:
        super().keep(seconds, write)
        self.world.now += 10


def test_time_spent_before_is_on_the_clock_and_keeping_is_not(small: Corpus, tmp_path: Path) -> None:
    """15 of 30 steps before, 15 after; off the clock five reports of 100 s and five states of 10 s."""
    kept, results = Slow(tmp_path / "state"), list[Result]()

    def slow(report: Report) -> bool:
        kept.world.now += 100
        return True

    for stop_at in (2 * 110 + 30.0, 1e9):
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(StoppedError):
            kept.world = world = World(patch, itertools.repeat(2.0))
            options: dict[str, Any] = {"should_stop": lambda at=stop_at: kept.world.now >= at, "on_report": slow}
            options |= {"report_points": (20, 40, 60, 80, 100), "report_bytes": 2000, "keeper": kept, "clock": world}
            results.append(train(WIDE, TRAINING, small, budget_seconds=60, seed=3, **options))
        assert len(world.taken) == 15
    (result,) = results
    assert (result.train_seconds, result.steps) == (60.0, 30)
    assert result.total_seconds == pytest.approx(
        60 + 5 * 100 + 4 * 10
    )  # the state of the stop says itself nothing of it


def damage(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    if how == "flipped":
        content[len(content) // 2] ^= 1
    others = {"cut": bytes(content[:-9]), "empty": b"", "text": b"hello\nyou"}
    path.write_bytes(others.get(how, bytes(content)))
    if how == "missing":
        path.unlink()


@pytest.mark.parametrize("how", ["flipped", "cut", "empty", "text", "missing"])
def test_a_damaged_state_is_as_none(how: str, small: Corpus, never_stopped: Result, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "state")
    with pytest.raises(StoppedError):
        run(small, keeper=kept, should_stop=after(5))
    assert seconds_in(kept.path) > 0
    damage(kept.path, how)
    assert_same(run(small, keeper=kept), never_stopped)
    assert kept.told == []


OTHERS: dict[str, dict[str, Any]] = {
    "seed": {"seed": 4},
    "budget": {"budget": 64.0},
    "schedule": {"horizon_seconds": 70.0},
    "learning rate": {"training": dataclasses.replace(TRAINING, max_lr=2e-2)},
    "report text": {"report_bytes": 2500},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_runs_state_is_refused(other: str, small: Corpus, tmp_path: Path) -> None:
    kept = Kept(tmp_path / "state")
    with pytest.raises(StoppedError):
        run(small, keeper=kept, should_stop=after(5))
    run(small, keeper=kept, on_report=lambda report: False, **OTHERS[other])
    assert kept.told == []


def test_the_state_of_a_run_on_other_text_is_refused(small: Corpus, tmp_path: Path) -> None:
    kept, sliced = Kept(tmp_path / "state"), dataclasses.replace(small, text_sha256="0" * 64)
    with pytest.raises(StoppedError):
        run(small, keeper=kept, should_stop=after(5))
    run(sliced, keeper=kept, on_report=lambda report: report.percent < 40)
    assert kept.told == []
    run(small, keeper=kept, on_report=lambda report: False)  # which `sliced` has overwritten
    assert kept.told == []


def test_a_state_that_cant_be_written_says_so_and_leaves_nothing(small: Corpus, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be written: No such file"):
        run(small, keeper=Kept(tmp_path / "none" / "state"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_is_three_floats_a_parameter_and_one_for_the_mean(small: Corpus, tmp_path: Path) -> None:
    for fraction, floats in ((0.0, 3), (0.5, 4)):
        kept = Kept(tmp_path / "state")
        result = run(small, dataclasses.replace(TRAINING, average_fraction=fraction), keeper=kept)
        assert kept.path.stat().st_size == pytest.approx(4 * floats * result.n_params, rel=0.3)
