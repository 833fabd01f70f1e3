"""The pruners of a study's proxy trials and confirmation runs, and which confirmation runs may be pruned."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from search.strategy.pruner import HALVING, RISK, WORTH, CorrelationPruner
from search.strategy.pruner_model import Sums
from search.study.plan import Plan
from search.study.study import LinkedStudy
from search.study.trials import Attributes


def make_pruner(study: LinkedStudy) -> CorrelationPruner:
    """Return the pruner for a study's proxy trials, by its plan."""
    pruner = study.plan.pruner
    stored = study.proxy_attributes().get(f"lessons:{pruner.primed_by}")
    return CorrelationPruner(
        rule=rule_of(study.plan),
        caution=pruner.caution,
        places=max(1, study.plan.confirm.top),  # where none is confirmed, the best proxy is what is looked for
        risk=pruner.risk,
        min_trials=pruner.min_trials,
        odds=pruner.odds,
        controls=pruner.controls,
        earlier=_sums_by_step(stored),
    )


def rule_of(plan: Plan) -> str:
    """Return the rule by which a study's proxies are pruned.

    A primed pruner judges by risk: that is what the earlier study taught. Where a number of trials ends the proxies,
    what a pruned one saves buys no new one. Proxies that are the first part of a long run end nowhere in particular.
    """
    if plan.pruner.primed_by:
        return RISK
    if plan.pruner.rule != "auto":
        return plan.pruner.rule
    if not plan.proxy.limited:
        return RISK
    return HALVING if plan.proxy.schedule == "prefix" else WORTH


def _sums_by_step(stored: Any) -> dict[int, Sums]:
    """Return the result of `earlier_sums` from the attribute that it was stored in; malformed entries are skipped."""
    steps = stored if type(stored) is dict else {}
    return {int(step): np.array(values) for step, values in steps.items() if step.isdecimal() and _are_sums(values)}


def _are_sums(values: Any) -> bool:
    six = type(values) is list and len(values) == 6
    return six and all(type(value) in (int, float) and abs(value) < 1e300 for value in values)


def race_pruner(plan: Plan) -> CorrelationPruner:
    """Return the pruner for confirmation runs: there are few, so it needs only 4, and a tenth count as the best.

    It judges by risk: what a pruned run saves buys no new one.
    """
    risk, odds = plan.pruner.risk, plan.pruner.odds
    return CorrelationPruner(rule=RISK, risk=risk, odds=odds, min_trials=4, best=0.1, controls=0.0)


def may_be_pruned(plan: Plan, attrs: Mapping[str, Any]) -> bool:
    """Return whether a confirmation run may be pruned: only the first run of one of the best proxies.

    Baselines, random candidates and those added when the race widens are there to be compared, and further seeds to
    measure a mean: these run to their end.
    """
    run = Attributes(attrs)
    first = run.seed == plan.confirm.first_seed and run.kind == "top"
    return first and (run.budget or plan.confirm.budget) == plan.confirm.budget
