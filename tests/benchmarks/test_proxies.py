import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from model.config import ModelConfig, TrainConfig
from model.data.corpus import Corpus
from model.training.train import train
from search.study.results import transfer_check
from tests.benchmarks.proxies import PREFIX, CountedClock, Job, Kept, Setup, draw, jobs
from tests.benchmarks.proxies_table import collect, table
from tests.benchmarks.ranking import bootstrap, recall, regret, tau

SETUP = Setup(
    study=str(Path(__file__).parent / "proxies.toml"),
    text="builtin",
    long_seconds=10.0,
    device="cpu",
    flops_rate=5e10,
    launch_seconds=2e-3,
    draw=0,
)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=3, max_size=30))
def test_tau_is_scipys_or_zero_where_that_has_none(pairs: list[tuple[int, int]]) -> None:
    x, y = zip(*pairs, strict=True)
    assert tau(x, y) == pytest.approx(np.nan_to_num(stats.kendalltau(x, y).statistic))


def test_failed_runs_tie_for_the_last_place() -> None:
    """Of six pairs one is tied on a side, the other five agree: 5 ÷ √(5 · 6)."""
    assert tau((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, math.inf, math.inf)) == pytest.approx(5 / math.sqrt(30))


def test_the_bootstraps_interval_is_about_the_closed_form() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=60)
    good, poor = truth + 0.7 * random.normal(size=60), random.normal(size=60)
    found = bootstrap({"good": good}, truth, lambda t: t["good"], 1000)
    closed = transfer_check(list(good), list(truth))
    assert closed.low is not None
    assert closed.high is not None
    assert found.value == pytest.approx(closed.tau)
    assert (found.low, found.high) == pytest.approx((closed.low, closed.high), abs=0.07)
    better = bootstrap({"good": good, "poor": poor}, truth, lambda t: t["good"] - t["poor"], 1000)
    assert better.low > 0
    same = bootstrap({"a": good, "b": good}, truth, lambda t: t["a"] - t["b"], 50)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_what_the_best_few_are_worth() -> None:
    proxy, confirmed = (1.0, 2.0, 3.0, 4.0), (2.5, 2.6, 2.0, 9.0)
    assert recall(proxy, confirmed, 2) == 0.5
    assert regret(proxy, confirmed, 2) == 0.5
    assert regret(proxy, confirmed, 3) == 0


def test_counted_seconds_are_steps_and_nothing_else(corpus: Corpus) -> None:
    small = dataclasses.replace(corpus, validation=corpus.validation.subset(3000))
    clock = CountedClock(0.5)
    result = train(
        ModelConfig(n_layer=1, n_head=1, head_dim=16, context=32),
        TrainConfig(batch_size=2),
        small,
        budget_seconds=10,
        seed=0,
        report_points=(10, 30, 100),
        clock=clock,
        should_stop=clock.tick,
    )
    assert (result.steps, result.train_seconds) == (20, 10)
    assert [r.steps for r in result.reports] == [2, 6, 20]
    assert clock.now > 10  # it went on while evaluating, with the budget's watch paused


def test_every_configuration_has_every_run_and_first_ones_come_first() -> None:
    found = list(jobs(3, seeds=2))
    assert len(found) == len(set(found)) == 3 * (2 + 3)
    assert [j.number for j in found] == [0] * 4 + [1] * 4 + [2] * 4 + [0, 1, 2]
    assert {j.points for j in found if j.kind == PREFIX} == {(100, 50)}
    plan = SETUP.plan()
    assert draw(plan, 5, 0)[:3] == draw(plan, 3, 0) != draw(plan, 3, 1)


def test_finished_runs_are_kept_with_their_setup(tmp_path: Path) -> None:
    kept, job = Kept(tmp_path / "runs", SETUP), Job(0, "whole", 20, 0)
    assert not kept.has(job)
    kept.add({**dataclasses.asdict(job), "bpb": {"20.0": 3.0}})
    assert Kept(tmp_path / "runs", SETUP).has(job)
    assert not kept.has(dataclasses.replace(job, percent=10))
    with pytest.raises(SystemExit, match="another setup"):
        Kept(tmp_path / "runs", dataclasses.replace(SETUP, draw=1))


def _runs(number: int, truth: float, rank: float) -> list[dict[str, object]]:
    """A configuration whose prefix ranks as its long runs do, and whose whole short runs rank by `rank`."""
    base: dict[str, object] = {"number": number, "seed": 0}
    long = {"5.0": rank, "10.0": rank, "20.0": rank, "40.0": truth, "100.0": truth}
    return [
        *({**base, "kind": "long", "percent": 100, "seed": s, "bpb": long} for s in (100, 101)),
        {**base, "kind": "prefix", "percent": 20, "bpb": {"10.0": truth, "20.0": truth}},
        {**base, "kind": "whole", "percent": 20, "bpb": {"20.0": -truth}},
        {**base, "kind": "whole", "percent": 10, "failed": "DivergedError", "why": ""},
    ]


def test_the_table_tells_a_good_proxy_from_a_bad_one() -> None:
    runs = json.loads(json.dumps([r for i in range(12) for r in _runs(i, 2 + i / 10, 12 - i)]))
    assert len(collect(runs)) == 12
    assert len(collect(runs[:-1])) == 11
    rows = {line.split(" | ")[0]: line for line in table(runs).splitlines()}
    assert "1.00 (1.00 … 1.00) | 1.00 (1.00 … 1.00) | 100% | 0.0000 | 0.0000" in rows["| prefix 20%"]
    assert "-1.00 (-1.00 … -1.00)" in rows["| whole 20%"]
    assert "-2.00 (-2.00 … -2.00)" in rows["| whole - prefix, 20%"]
    assert rows["| 20%"].endswith("-1.00 | -1.00 |")
    assert rows["| 40%"].endswith("1.00 | 1.00 |")
    assert "12 configurations, 24 long runs" in table(runs)
    assert "12 × whole 10%" in table(runs)
    assert "too few" in table(runs[:25])
