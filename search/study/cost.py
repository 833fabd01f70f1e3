"""What a study costs: dollars spent, dollars bound by runs under way, and whether one more run fits under its cap.

One way of counting for every cap: a worker costs its price from its start to its end, idle or not, by the server's
clock. A run under way will cost what is left of its budget and of the overhead (start-up, compilation, evaluation)
that finished runs had on average; so will the next one.
"""

import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.common.durations import parse_duration
from search.study.settings import Fidelity
from search.study.study import LinkedStudy
from search.study.trials import RESUMED_AT, attributes_of
from storage.registry.workers import Entry, Registry


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A study's dollars."""

    spent: float
    """Of all workers until now."""
    bound: float
    """Of runs under way until their end, beyond what is spent."""
    cap: float
    """0: none."""

    def fits(self, usd: float) -> bool:
        """Return whether so much more stays within the cap; a billionth is rounding."""
        return not self.cap or self.spent + self.bound + usd <= self.cap * (1 + 1e-9)

    def refusal(self, study: str, usd: float) -> str:
        """Return why a run of this price isn't started, and what to do."""
        return (
            f"cost cap: ${self.spent:.2f} spent, ${self.bound:.2f} bound by runs under way, ${usd:.2f} for the next "
            f"run: more than max_usd, ${self.cap:.2f}. `lilm-search start --study {study} --max-usd N` raises it."
        )


def registry_of(study: LinkedStudy) -> Registry:
    """Return the registry of a study's workers."""
    return Registry(study.database, study.proxies._study_id, grace_seconds=study.plan.workers.grace_seconds)


def overhead_seconds(trials: Sequence[FrozenTrial]) -> float:
    """Return the mean time of runs outside training, 0 before any is known."""
    told = [(a.total_seconds, a.train_seconds) for a in map(attributes_of, trials)]
    known = [total - train for total, train in told if total is not None and train is not None]
    return float(np.mean([max(0.0, seconds) for seconds in known])) if known else 0.0


def budget_seconds(trial: FrozenTrial, fidelity: Fidelity) -> float:
    """Return a trial's own budget, which on a rung isn't the fidelity's, and on a slower machine is longer."""
    attrs = attributes_of(trial)
    return (attrs.budget_scale or 1.0) * parse_duration(attrs.budget or fidelity.budget)


def bill(study: LinkedStudy, entries: Sequence[Entry], cap: float) -> Bill:
    """Return what the study has cost, and what it will when the runs under way end with their budgets."""
    by_name = {e.name: e for e in entries}
    spent, bound = sum(e.usd for e in entries), 0.0
    plan = study.plan
    for fidelity, trials in ((plan.proxy, study.proxy_trials()), (plan.confirm, study.confirm_trials())):
        overhead = overhead_seconds(trials)
        for trial in trials:
            entry = by_name.get(attributes_of(trial).worker or "")
            price = entry.usd_per_hour if entry else plan.cost.usd_per_gpu_hour
            if trial.state == TrialState.RUNNING:
                whole = budget_seconds(trial, fidelity) + overhead
                bound += max(0.0, whole - _elapsed(trial, entry)) / 3600 * price
            elif entry is None:  # of a worker that no registry knew
                spent += (attributes_of(trial).total_seconds or 0.0) / 3600 * price
    return Bill(spent=spent, bound=bound, cap=cap)


def _elapsed(trial: FrozenTrial, entry: Entry | None) -> float:
    claimed = attributes_of(trial).claimed_at
    return max(0.0, entry.now - claimed) if entry and claimed is not None else 0.0


def study_bill(study: LinkedStudy) -> Bill:
    """Return the study's bill as it stands, under the cap that is stored with it now."""
    return bill(study, registry_of(study).entries(), stored_cap(study))


def stored_cap(study: LinkedStudy) -> float:
    """Return the cap that the study has now, which may have been raised since this process loaded it."""
    text = study.proxy_attributes().get("plan")
    return float(tomllib.loads(text).get("cost", {}).get("max_usd", 0.0)) if text else study.plan.cost.max_usd


def run_usd(trials: Sequence[FrozenTrial], seconds: float, price: float) -> float:
    """Return the dollars that a run with this budget is expected to cost, by runs of its kind so far."""
    return (seconds + overhead_seconds(trials)) / 3600 * price


def affordable_runs(study: LinkedStudy, workers: Sequence[Entry] | None = None) -> int | None:
    """Return how many further long runs [confirm]'s own hours and dollars allow; None where neither is limited.

    `workers` are the study's; without them they are read where their prices count.
    """
    confirm, runs = study.plan.confirm, study.confirm_trials()
    limits = []
    if confirm.max_hours:
        limits.append(_left(study, runs, confirm.max_hours * 3600, lambda trial: 1.0, 1.0))
    if confirm.max_usd:
        prices = {e.name: e.usd_per_hour / 3600 for e in (registry_of(study).entries() if workers is None else workers)}
        usual = study.plan.cost.usd_per_gpu_hour / 3600

        def price(trial: FrozenTrial) -> float:
            return prices.get(attributes_of(trial).worker or "", usual)

        limits.append(_left(study, runs, confirm.max_usd, price, usual))
    return min(limits, default=None)


def ran_seconds(run: FrozenTrial) -> float:
    """Return how long an ended run took: what it told, else from its start to its end, for one that was lost."""
    told, lasted = attributes_of(run).total_seconds, run.duration
    return float(told) if told is not None else lasted.total_seconds() if lasted else 0.0


def _left(
    study: LinkedStudy,
    runs: Sequence[FrozenTrial],
    limit: float,
    price: Callable[[FrozenTrial], float],
    usual: float,
) -> int:
    """Return how many further long runs fit, in seconds or dollars; `price` is what a run's second counts.

    A try whose retry went on from its state is in the time of that one.
    """
    confirm, overhead = study.plan.confirm, overhead_seconds(runs)
    left = limit
    gone_on = {attributes_of(r).retries for r in runs if RESUMED_AT in r.user_attrs}
    for run in runs:
        if run.state.is_finished():
            left -= (0.0 if run.number in gone_on else ran_seconds(run)) * price(run)
        else:
            left -= (budget_seconds(run, confirm) + overhead) * price(run)
    return max(0, math.floor(left / ((confirm.budget_seconds + overhead) * usual) + 1e-9))
