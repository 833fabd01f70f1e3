import gzip
import importlib.util
import math
import random
import warnings
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from optuna.pruners import BasePruner, NopPruner, ThresholdPruner
from optuna.trial import FrozenTrial

from search.replay.curves import CurveSet, read_csv
from search.replay.one_study import Score, StudyLimit, replay, score, study_limits
from search.replay.pruners import default_pruners
from tests.places import SHARED

TOOL = SHARED / "tools" / "replay.py"
WMT = SHARED / "data" / "curves" / "algoperf_wmt.csv.gz"


def small(loss: list[list[float]], final: list[float]) -> CurveSet:
    count = len(loss[0])
    return CurveSet(
        name="small",
        steps=tuple(range(1, count + 1)),
        last_step=count + 1,
        loss=np.array(loss),
        final=np.array(final),
    )


THREE = small([[6, 4, 3], [6, 6, 2], [4, 4, 4]], [1.0, 0.5, 4.0])


class StopsAll(BasePruner):
    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return True


@pytest.mark.parametrize("seed", range(3))
def test_three_curves_worked_by_hand(seed: int) -> None:
    """Above 5 from the second report on is stopped: the best run, halfway. Of 1 and 4 left the pick is 1."""
    result = replay(THREE, ThresholdPruner(upper=5.0, n_warmup_steps=2), StudyLimit(trials=3), seed)
    expected = Score(
        cost=2.5 / 3,  # 1, 0.5 and 1
        tried=3,
        regret=0.5,
        relative_regret=1.0,  # the median of the final losses is 1, the best 0.5
        rank=1 / 3,
        best_pruned=True,
        top_pruned=1.0,
        completed=2 / 3,
    )
    assert asdict(result) == pytest.approx(asdict(expected))


@pytest.mark.parametrize("seed", range(3))
def test_a_budget_ends_the_study_and_the_whole_set_is_the_reference(seed: int) -> None:
    """Budget 1.5: two full runs are started, the second while half a run is left."""
    result = replay(THREE, NopPruner(), StudyLimit(budget=1.5), seed)
    tried = random.Random(seed).sample(range(3), 3)[:2]
    pick = min([1.0, 0.5, 4.0][run] for run in tried)
    assert (result.tried, result.cost, result.regret) == (2, 1.0, pick - 0.5)
    assert result.relative_regret == (pick - 0.5) / 0.5
    assert result.rank == pytest.approx({0.5: 0, 1.0: 1 / 3, 4.0: 2 / 3}[pick])


@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), min_size=2, max_size=12), st.integers(0, 2**32 - 1)
)
@examples(max_examples=30, deadline=None)
def test_without_pruning_every_trial_costs_one_and_the_best_is_picked(runs: list[list[float]], seed: int) -> None:
    curves = small([run[:3] for run in runs], [run[3] for run in runs])
    result = replay(curves, NopPruner(), StudyLimit(trials=len(runs)), seed)
    assert (result.cost, result.regret, result.relative_regret, result.rank) == (1, 0, 0, 0)
    assert (result.best_pruned, result.top_pruned, result.completed) == (False, 0, 1)


def test_a_study_that_lets_no_run_end_is_scored_as_if_it_picked_its_worst() -> None:
    result = replay(THREE, StopsAll(), StudyLimit(trials=3), 0)
    assert (result.cost, result.regret, result.completed) == (0.25, 3.5, 0.0)
    assert result.rank == pytest.approx(2 / 3)


def test_a_run_without_an_early_report_is_asked_about_later_ones_only() -> None:
    late = small([[math.nan, math.nan, 9.0], [1, 1, 1]], [9.0, 1.0])
    result = replay(late, StopsAll(), StudyLimit(trials=2), 0)
    assert result.cost == pytest.approx((0.75 + 0.25) / 2)


def test_the_best_five_percent_are_two_of_forty() -> None:
    final = [float(run) for run in range(40)]
    result = score(final, range(40), [0, *range(2, 40)], range(40), 40.0)
    assert (result.best_pruned, result.top_pruned, result.regret) == (False, 0.5, 0.0)
    assert result.completed == 39 / 40


def test_settings_follow_the_size_of_the_set() -> None:
    assert study_limits(THREE, 100, None) == (StudyLimit(trials=3), StudyLimit(budget=0.75))
    many = small([[1.0]] * 400, [float(run) for run in range(400)])
    assert study_limits(many, 100, None) == (StudyLimit(trials=100), StudyLimit(budget=25.0))
    assert study_limits(many, 100, 7.5)[1] == StudyLimit(budget=7.5)


def tool() -> ModuleType:
    """The script that states the protocol, kept outside the project."""
    if not TOOL.is_file():
        pytest.skip("needs shared/tools/replay.py")
    spec = importlib.util.spec_from_file_location("replay_tool", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    verbosity = optuna.logging.get_verbosity()
    spec.loader.exec_module(module)
    optuna.logging.set_verbosity(verbosity)
    return module


def write_runs(path: Path, runs: int) -> None:
    """Noisy power laws with different limits, recorded at uneven points that differ from run to run."""
    draw = np.random.default_rng(7)
    rows = ["run_id,config,progress,loss"]
    for run in range(runs):
        limit, rate = draw.uniform(1, 3), draw.uniform(0.3, 1.5)
        for at in [*np.sort(draw.uniform(0.02, 0.99, size=int(draw.integers(8, 30)))), 1.0]:
            rows.append(f'{run},"{{""lr"": 1}}",{at:.5f},{limit + at**-rate + draw.normal(0, 0.3):.6g}')
    path.write_bytes(gzip.compress("\n".join(rows).encode()))


def assert_same(ours: CurveSet, theirs: ModuleType, seeds: range, budget: float) -> None:
    setting = StudyLimit(trials=min(100, ours.runs)) if budget == math.inf else StudyLimit(budget=budget)
    for seed in seeds:
        expected: dict[str, Any] = {row[1]: list(row[2:]) for row in theirs.job((ours.name, seed, budget))}
        for name, spec in default_pruners(20).items():
            if name in expected:
                result = replay(ours, spec.make(), setting, seed)
                assert list(vars(result).values()) == pytest.approx(expected[name], rel=1e-9, abs=1e-12), (name, seed)


@pytest.mark.parametrize("smooth", [0.0, 0.2])
@pytest.mark.parametrize("budget", [math.inf, 7.0])
def test_optuna_s_pruners_score_as_by_the_script_that_states_the_protocol(
    tmp_path: Path, smooth: float, budget: float
) -> None:
    write_runs(tmp_path / "made.csv.gz", 40)
    with warnings.catch_warnings():
        theirs = tool()
        theirs.DATA = tmp_path  # type: ignore[attr-defined]
        theirs.SETS["made"] = theirs.load("made", smooth=smooth)
        assert_same(read_csv(tmp_path / "made.csv.gz", smooth), theirs, range(3), budget)


@pytest.mark.skipif(not WMT.is_file(), reason="needs shared/data/curves")
@pytest.mark.parametrize("budget", [math.inf, 25.0])
def test_so_do_they_on_recorded_translation_models(budget: float) -> None:
    with warnings.catch_warnings():
        theirs = tool()
        theirs.SETS["algoperf_wmt"] = theirs.load("algoperf_wmt")
        assert_same(read_csv(WMT), theirs, range(11, 13), budget)
