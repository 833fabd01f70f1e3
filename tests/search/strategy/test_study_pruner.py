from dataclasses import replace
from typing import Any, cast

import numpy as np
import optuna
import pytest

from search.strategy.pruner import CorrelationPruner, earlier_sums
from search.strategy.study_pruner import make_pruner, may_be_pruned, race_pruner
from search.study.study import LinkedStudy
from tests.search.curves_made import complete, foretelling
from tests.search.made import PLAN

ASKED = replace(PLAN, pruner=replace(PLAN.pruner, risk=0.1, odds=2.0, min_trials=9, controls=0.2))


def linked(study: optuna.Study) -> LinkedStudy:
    nothing = cast(Any, None)
    return LinkedStudy(ASKED, nothing, study, study, nothing, nothing, ASKED.name)


def test_a_studys_pruner_is_what_its_plan_asks_for() -> None:
    made = make_pruner(linked(optuna.create_study()))
    assert (made.risk, made.odds, made.min_trials, made.controls) == (0.1, 2.0, 9, 0.2)
    assert (made.earlier, made.needed) == ({}, 9)


def test_the_plans_defaults_are_the_pruners() -> None:
    default, planned = CorrelationPruner(), PLAN.pruner
    asked = (planned.risk, planned.odds, planned.min_trials, planned.controls)
    assert (default.risk, default.odds, default.min_trials, default.controls) == asked


def test_what_a_study_was_taught_survives_its_storage() -> None:
    taught = earlier_sums(complete(foretelling(np.random.default_rng(0), 40)))
    study = optuna.create_study()
    study.set_user_attr("lessons:", {str(step): [float(v) for v in shown] for step, shown in taught.items()})
    made = make_pruner(linked(study))
    assert set(made.earlier) == set(taught)
    assert all(made.earlier[step] == pytest.approx(taught[step]) for step in taught)
    assert made.needed == 2


def test_long_runs_are_few_and_none_of_them_is_a_control() -> None:
    made = race_pruner(ASKED)
    assert (made.risk, made.odds) == (0.1, 2.0)
    assert (made.needed, made.best, made.controls) == (4, 0.1, 0.0)


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
def test_what_is_no_lesson_teaches_nothing(odd: Any) -> None:
    study = optuna.create_study()
    study.set_user_attr("lessons:", odd)
    made = make_pruner(linked(study))
    assert (made.earlier, made.needed) == ({}, 9)
