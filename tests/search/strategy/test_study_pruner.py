from dataclasses import replace
from typing import Any, cast

import numpy as np
import optuna
import pytest

from search.strategy.pruner import HALVING, RISK, WORTH, CorrelationPruner, earlier_sums
from search.strategy.study_pruner import make_pruner, may_be_pruned, race_pruner
from search.study.study import LinkedStudy
from tests.search.curves_made import complete, predictive
from tests.search.made import PLAN

ASKED = replace(PLAN, pruner=replace(PLAN.pruner, caution=3.0, risk=0.1, odds=2.0, min_trials=9, controls=0.2))


def linked(study: optuna.Study) -> LinkedStudy:
    nothing = cast(Any, None)
    return LinkedStudy(ASKED, nothing, study, study, nothing, nothing, ASKED.name)


def test_a_studys_pruner_is_what_its_plan_asks_for() -> None:
    pruner = make_pruner(linked(optuna.create_study()))
    assert (pruner.risk, pruner.odds, pruner.min_trials, pruner.controls) == (0.1, 2.0, 9, 0.2)
    assert (pruner.rule, pruner.caution, pruner.places) == (RISK, 3.0, PLAN.confirm.top)
    assert (pruner.earlier, pruner.needed) == ({}, 9)


def test_by_worth_more_trials_must_finish_than_will_be_confirmed() -> None:
    assert [CorrelationPruner(places=k).needed for k in (1, 4, 5, 8)] == [5, 5, 6, 9]


@pytest.mark.parametrize(
    ("rule", "primed_by", "hours", "usd", "schedule", "expected"),
    [
        ("auto", "", 0.0, 0.0, "whole", RISK),  # a number of trials ends the study: what is saved buys nothing
        ("auto", "", 0.0, 0.0, "prefix", RISK),
        ("auto", "", 2.0, 0.0, "whole", WORTH),
        ("auto", "", 0.0, 5.0, "whole", WORTH),
        ("auto", "", 2.0, 0.0, "prefix", HALVING),
        ("auto", "", 0.0, 5.0, "prefix", HALVING),
        ("auto", "earlier", 2.0, 0.0, "prefix", RISK),
        ("worth", "", 0.0, 0.0, "prefix", WORTH),
        ("worth", "earlier", 0.0, 0.0, "whole", RISK),
        ("risk", "", 2.0, 0.0, "prefix", RISK),
        ("halving", "", 0.0, 0.0, "whole", HALVING),
        ("halving", "earlier", 0.0, 0.0, "whole", RISK),
    ],
)
def test_the_rule_follows_from_what_ends_the_proxies_and_what_they_are(
    rule: str, primed_by: str, hours: float, usd: float, schedule: str, expected: str
) -> None:
    pruner = replace(PLAN.pruner, rule=rule, primed_by=primed_by)
    plan = replace(PLAN, pruner=pruner, proxy=replace(PLAN.proxy, max_hours=hours, max_usd=usd, schedule=schedule))
    assert make_pruner(replace(linked(optuna.create_study()), plan=plan)).rule == expected


def test_the_plans_defaults_are_the_pruners() -> None:
    default, planned = CorrelationPruner(), PLAN.pruner
    for name in ("caution", "risk", "odds", "min_trials", "controls"):
        assert getattr(planned, name) == getattr(default, name)


def test_earlier_sums_survive_their_storage() -> None:
    sums_by_step = earlier_sums(complete(predictive(np.random.default_rng(0), 40)))
    study = optuna.create_study()
    study.set_user_attr("lessons:", {str(step): [float(v) for v in sums] for step, sums in sums_by_step.items()})
    pruner = make_pruner(linked(study))
    assert set(pruner.earlier) == set(sums_by_step)
    assert all(pruner.earlier[step] == pytest.approx(sums_by_step[step]) for step in sums_by_step)
    assert pruner.needed == 2


def test_long_runs_are_few_and_none_of_them_is_a_control() -> None:
    pruner = race_pruner(ASKED)
    assert (pruner.rule, pruner.risk, pruner.odds) == (RISK, 0.1, 2.0)
    assert (pruner.needed, pruner.best, pruner.controls) == (4, 0.1, 0.0)


@pytest.mark.parametrize(
    ("attrs", "may"),
    [
        ({"kind": "top", "seed": 100}, True),
        ({"kind": "wider", "seed": 100, "budget": "30m"}, False),
        ({"kind": "top", "seed": 101}, False),
        ({"kind": "baseline", "seed": 100}, False),
        ({"kind": "random", "seed": 100}, False),
        ({"kind": "top", "seed": 100, "budget": "12m"}, False),
        ({}, False),
    ],
)
def test_only_first_long_runs_of_the_best_proxies_may_be_pruned(attrs: dict[str, Any], may: bool) -> None:
    assert PLAN.confirm.first_seed == 100
    assert may_be_pruned(PLAN, attrs) == may


@pytest.mark.parametrize("odd", ["yes", True, [1], {"x": [1] * 6}, {"20": [1]}, {"20": "abcdef"}, {"20": [True] * 6}])
def test_malformed_earlier_sums_are_ignored(odd: Any) -> None:
    study = optuna.create_study()
    study.set_user_attr("lessons:", odd)
    pruner = make_pruner(linked(study))
    assert (pruner.earlier, pruner.needed) == ({}, 9)
