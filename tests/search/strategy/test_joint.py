"""One model of short and long runs: what it learns from, whom it chooses, and whole studies that it guides."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from model.errors import SettingsError
from search.analysis.snapshot import read
from search.show.status.race_table import waits_for
from search.strategy.joint import MAX_RUNS, JointModel, _most_telling
from search.strategy.promotion import early_candidates, promote
from search.study.plan import Plan
from search.study.settings import ConfirmConfig
from search.study.space import Parameter, Space
from search.study.study import open_study
from search.study.trials import PREDICTED, PREDICTED_HALF_WIDTH
from storage.server.database import Database
from tests.search.raced import TEXT, Trainer

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of metric names
SPACE = Space({"max_lr": Parameter(low=1e-4, high=1e-1, log=True), "n_layer": Parameter(low=1, high=16)})


def trial(rate: float, layers: int, bpb: float | None, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    params = {"max_lr": rate, "n_layer": layers}
    return create_trial(
        state=state,
        value=bpb if state == TrialState.COMPLETE else None,
        params=params,
        distributions={k: SPACE.parameters[k].distribution() for k in params},
    )


def truth(rate: float, layers: int) -> float:
    """Best at 1e-2 and 12 layers."""
    return 1.3 + 0.1 * math.log10(rate / 1e-2) ** 2 + 0.002 * (layers - 12) ** 2


def history() -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Proxies that reward shallow networks, and long runs of a few of them."""
    grid = [(10 ** (-4 + 3 * i / 5), layers) for i in range(6) for layers in (1, 4, 8, 12, 16)]
    proxies = [trial(r, n, truth(r, n) + 0.3 + 0.03 * n) for r, n in grid]
    return proxies, [trial(r, n, truth(r, n)) for r, n in grid[::3]]


def test_the_long_runs_put_the_proxies_order_right() -> None:
    proxies, long_runs = history()
    model = JointModel(SPACE, proxies, long_runs)
    shallow, deep = model.predict([{"max_lr": 1e-2, "n_layer": 2}, {"max_lr": 1e-2, "n_layer": 12}])
    assert deep.mean < shallow.mean
    assert deep.mean == pytest.approx(truth(1e-2, 12), abs=0.05)


def test_choices_differ_and_the_first_is_the_one_of_most_expected_improvement() -> None:
    model = JointModel(SPACE, *history())
    several = [{"max_lr": r, "n_layer": n} for r in (1e-4, 8e-3, 1e-2) for n in (1, 11, 12, 13)]
    gains = model.improvement(several)
    chosen = model.choose(several, 4)
    assert chosen[0] == int(gains.argmax())
    assert len(set(chosen)) == 4
    assert model.choose(several[:2], 5) in ([0, 1], [1, 0])


def test_runs_under_way_are_not_chosen_again_for_the_same_lesson() -> None:
    proxies, long_runs = history()
    here = {"max_lr": 1e-2, "n_layer": 13}
    before = JointModel(SPACE, proxies, long_runs).improvement([here])[0]
    waiting = trial(1e-2, 13, None, TrialState.WAITING)
    assert JointModel(SPACE, proxies, [*long_runs, waiting]).improvement([here])[0] < before


def test_a_baseline_with_settings_of_its_own_teaches_nothing_of_the_space() -> None:
    proxies, long_runs = history()
    other = trial(1e-3, 1, 0.5)
    other.params["weight_decay"] = 0.5
    asked = [{"max_lr": 1e-3, "n_layer": 2}]
    assert JointModel(SPACE, [*proxies, other], long_runs).predict(asked) == JointModel(
        SPACE, proxies, long_runs
    ).predict(asked)


def test_a_long_run_at_another_learning_rate_teaches_of_that_rate() -> None:
    proxies, long_runs = history()
    scaled = trial(1e-2, 12, 2.0)
    scaled.user_attrs["lr_scale"] = 0.01
    asked = [{"max_lr": 1e-4, "n_layer": 12}]
    apart = JointModel(SPACE, proxies, [*long_runs, scaled]).predict(asked)
    assert apart == JointModel(SPACE, proxies, [*long_runs, trial(1e-4, 12, 2.0)]).predict(asked)


def test_unbounded_losses_are_predicted_as_bad_as_they_were() -> None:
    proxies, long_runs = history()
    bad = [trial(1e-4, 1, 9.0), trial(1.1e-4, 1, 9.0)]
    asked = [{"max_lr": 1.05e-4, "n_layer": 1}]
    bounded = JointModel(SPACE, proxies, [*long_runs, *bad]).predict(asked)[0].mean
    whole = JointModel(SPACE, proxies, [*long_runs, *bad], bounded=False).predict(asked)[0].mean
    assert bounded < 3 < whole


def test_of_very_many_runs_the_better_half_stays_and_others_evenly() -> None:
    many = [({"n_layer": i}, float(i)) for i in range(2 * MAX_RUNS)]
    kept = _most_telling(many)
    assert len(kept) == MAX_RUNS
    assert [loss for _, loss in kept[: MAX_RUNS // 2]] == list(range(MAX_RUNS // 2))
    assert kept[-1][1] > 1.9 * MAX_RUNS
    assert _most_telling(many[:9]) == many[:9]


@given(st.integers(0, 20), st.integers(1, 30), st.integers(0, 300), st.integers(1, 300))
def test_candidates_come_one_by_one_and_all_in_the_end(top: int, after: int, ended: int, trials: int) -> None:
    now, later = (early_candidates(top, after, n, max(trials, n), over=False) for n in (ended, ended + 1))
    assert 0 <= now <= top
    assert now <= later or ended + 1 > trials
    assert (now == 0) == (ended < after or top == 0)
    assert early_candidates(top, after, ended, trials, over=True) == top


def test_candidates_in_even_steps() -> None:
    """Of 5 from 10 to 50 proxies: the first at 10, one more each 10."""
    begun = [early_candidates(5, 10, ended, 50, over=False) for ended in (9, 10, 19, 20, 30, 40, 49, 50)]
    assert begun == [0, 1, 1, 2, 3, 4, 4, 5]


def joint_plan(limit: str = "", trials: int = 12) -> Plan:
    confirm = f"top = 4\nrandom = 1\nwiden = 0\nafter = 4\n{limit}"
    text = TEXT.format(confirm=confirm, baseline=0.1, proxy="startup = 4", pruner="")
    text = text.replace("trials = 12", f"trials = {trials}")
    return Plan.parse(text.replace('sampler = "random"', 'sampler = "joint"'), name="made", origin="a test")


def test_long_runs_begin_early_and_all_guarantees_hold(database: Database) -> None:
    """Proxies mislead: what is best at the end looks worst at first. Counts are exact, the baseline is confirmed."""
    study = open_study(database, joint_plan(trials=24))
    Trainer(study, lambda at: 2 - at, lambda at: 1.5 - at + at * at).run()
    proxies, runs = study.proxy_trials(), study.confirm_trials()
    assert len(proxies) == 24
    assert all(t.state == TrialState.COMPLETE for t in proxies)
    first = [r for r in runs if r.user_attrs["kind"] == "top" and r.user_attrs["seed"] == 100]
    assert len({r.user_attrs["confirms"] for r in first}) == 4
    assert any(r.user_attrs.get("baseline") == "by-hand" and r.value is not None for r in runs)
    assert len({r.user_attrs["confirms"] for r in runs if r.user_attrs["kind"] == "random"}) == 1
    told = [r for r in first if PREDICTED in r.user_attrs]
    assert 0 < len(told) < len(first)  # of the first ones too little was known
    assert all(r.user_attrs[PREDICTED_HALF_WIDTH] > 0 and "BPB predicted" in r.user_attrs["why"] for r in told)
    assert any(
        r.datetime_start < t.datetime_start for r in first for t in proxies if r.datetime_start and t.datetime_start
    )
    kinds = [t.user_attrs["sampler"]["kind"] for t in proxies if "sampler" in t.user_attrs]
    assert "joint" in kinds


def test_a_race_with_early_long_runs_says_how_far_it_has_come(in_memory: Database) -> None:
    study = open_study(in_memory, joint_plan())
    trainer = Trainer(study, lambda at: 2 - at, lambda at: 1.5 - at + at * at)
    while sum(t.state.is_finished() for t in study.proxy_trials()) < 5:
        trainer.step()
    promote(study)
    begun = sum(r.user_attrs["kind"] == "top" for r in study.confirm_trials())
    assert begun == 1
    assert waits_for(read(study)).startswith("1 of 4 candidates have begun early, ")
    assert "all once 7 more have" in waits_for(read(study))


def test_early_long_runs_keep_to_the_hours(in_memory: Database) -> None:
    """An hour and a half pays the baseline's half hour and two more; without a limit four candidates would begin."""
    study = open_study(in_memory, joint_plan("max_hours = 1.5"))
    Trainer(study, lambda at: 2 - at, lambda at: 1.5 - at + at * at).run()
    runs = study.confirm_trials()
    assert len(runs) == 3
    assert sum(r.user_attrs["total_seconds"] for r in runs) <= 1.5 * 3600
    assert len(study.proxy_trials()) == 12


def test_rungs_and_early_runs_exclude_each_other() -> None:
    with pytest.raises(SettingsError, match="`after` is 5, but must be 0 with `rungs`"):
        ConfirmConfig(budget="30m", rungs=("10m",), after=5)
