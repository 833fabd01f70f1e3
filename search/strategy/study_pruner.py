"""Which pruner a study asks for, and which of its runs it may stop."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from search.strategy.pruner import CorrelationPruner
from search.strategy.pruner_model import Sums
from search.study.plan import Plan
from search.study.study import LinkedStudy
from search.study.trials import Attributes


def make_pruner(study: LinkedStudy) -> CorrelationPruner:
    """Return the pruner that a study's plan asks for."""
    pruner = study.plan.pruner
    taught = study.proxy_attributes().get(f"lessons:{pruner.primed_by}")
    return CorrelationPruner(
        risk=pruner.risk,
        min_trials=pruner.min_trials,
        odds=pruner.odds,
        controls=pruner.controls,
        earlier=_sums_by_step(taught),
    )


def _sums_by_step(taught: Any) -> dict[int, Sums]:
    """Return what `lessons` returned from its attribute; what is of another form teaches nothing."""
    steps = taught if type(taught) is dict else {}
    return {int(step): np.array(shown) for step, shown in steps.items() if step.isdecimal() and _are_sums(shown)}


def _are_sums(shown: Any) -> bool:
    six = type(shown) is list and len(shown) == 6
    return six and all(type(value) in (int, float) and abs(value) < 1e300 for value in shown)


def race_pruner(plan: Plan) -> CorrelationPruner:
    """Return the pruner for long runs: few are run, so it asks for few, and counts a tenth as the best."""
    return CorrelationPruner(risk=plan.pruner.risk, odds=plan.pruner.odds, min_trials=4, best=0.1, controls=0.0)


def first_of_the_best(plan: Plan, attrs: Mapping[str, Any]) -> bool:
    """Return whether a long run may be pruned: the first of one of the best proxies.

    Baselines, random candidates and those who entered for the comparison's sake are to be compared, further seeds to
    measure a mean: these run whole.
    """
    run = Attributes(attrs)
    first = run.seed == plan.confirm.first_seed and run.kind == "top"
    return first and (run.budget or plan.confirm.budget) == plan.confirm.budget
