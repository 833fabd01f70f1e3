"""Cost of a study: dollars spent, dollars bound by runs under way, and whether one more run fits under the cap.

All caps count alike: a worker costs its price from its start to its end, idle or not, by the server's clock. A run
under way will cost the rest of its budget and of the mean overhead of finished runs (start-up, compilation,
evaluation); a further run will cost its whole budget and that overhead.
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
from storage.registry.workers import RegisteredWorker, Registry


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A study's dollars."""

    spent: float
    """Dollars spent on all workers until now."""
    bound: float
    """Further dollars that runs under way will cost until their end."""
    cap: float
    """Most dollars that the study may cost; 0: no cap."""

    def fits(self, usd: float) -> bool:
        """Return whether so many more dollars stay within the cap, up to a rounding error of a billionth."""
        return not self.cap or self.spent + self.bound + usd <= self.cap * (1 + 1e-9)

    def refusal(self, study: str, usd: float) -> str:
        """Return the reason why a run of this price isn't started, and what to do."""
        return (
            f"cost cap: ${self.spent:.2f} spent, ${self.bound:.2f} bound by runs under way, ${usd:.2f} for the next "
            f"run: more than max_usd, ${self.cap:.2f}. `lilm-search start --study {study} --max-usd N` raises it."
        )


def registry_of(study: LinkedStudy) -> Registry:
    """Return the registry of a study's workers."""
    return Registry(study.database, study.proxies._study_id, grace_seconds=study.plan.workers.grace_seconds)


def overhead_seconds(trials: Sequence[FrozenTrial]) -> float:
    """Return the mean time of runs outside training, in seconds; 0 if no run has reported it yet."""
    times = [(a.total_seconds, a.train_seconds) for a in map(attributes_of, trials)]
    overheads = [max(0.0, total - train) for total, train in times if total is not None and train is not None]
    return float(np.mean(overheads)) if overheads else 0.0


def budget_seconds(trial: FrozenTrial, fidelity: Fidelity) -> float:
    """Return a trial's own budget: on a rung it is the rung's, and on a slower machine it is longer."""
    attrs = attributes_of(trial)
    return (attrs.budget_scale or 1.0) * parse_duration(attrs.budget or fidelity.budget)


def bill(study: LinkedStudy, entries: Sequence[RegisteredWorker], cap: float) -> Bill:
    """Return the study's bill under this cap; runs under way are assumed to use their whole budgets."""
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
            elif entry is None:  # its worker was never registered
                spent += (attributes_of(trial).total_seconds or 0.0) / 3600 * price
    return Bill(spent=spent, bound=bound, cap=cap)


def _elapsed(trial: FrozenTrial, entry: RegisteredWorker | None) -> float:
    claimed = attributes_of(trial).claimed_at
    return max(0.0, entry.now - claimed) if entry and claimed is not None else 0.0


def study_bill(study: LinkedStudy) -> Bill:
    """Return the study's current bill, under the cap that is stored in the database now."""
    return bill(study, registry_of(study).workers(), stored_cap(study))


def stored_cap(study: LinkedStudy) -> float:
    """Return the study's stored cap, which may have been raised since this process loaded the study."""
    text = study.proxy_attributes().get("plan")
    return float(tomllib.loads(text).get("cost", {}).get("max_usd", 0.0)) if text else study.plan.cost.max_usd


def run_usd(trials: Sequence[FrozenTrial], seconds: float, price: float) -> float:
    """Return the expected dollars of a run with this budget, given the overhead of these runs of its kind."""
    return (seconds + overhead_seconds(trials)) / 3600 * price


def affordable_runs(study: LinkedStudy, workers: Sequence[RegisteredWorker] | None = None) -> int | None:
    """Return the number of further confirmation runs that [confirm]'s own limits allow; None if it has no limits.

    `workers` are the study's; if they are not given, they are read from the database when their prices are needed.
    """
    confirm, runs = study.plan.confirm, study.confirm_trials()
    limits = []
    if confirm.max_hours:
        limits.append(_left(study, runs, confirm.max_hours * 3600, lambda trial: 1.0, 1.0))
    if confirm.max_usd:
        prices = {e.name: e.usd_per_hour / 3600 for e in (registry_of(study).workers() if workers is None else workers)}
        usual = study.plan.cost.usd_per_gpu_hour / 3600

        def price(trial: FrozenTrial) -> float:
            return prices.get(attributes_of(trial).worker or "", usual)

        limits.append(_left(study, runs, confirm.max_usd, price, usual))
    return min(limits, default=None)


def ran_seconds(run: FrozenTrial) -> float:
    """Return the seconds that an ended run took; one that was lost, without reporting them, from start to end."""
    reported, duration = attributes_of(run).total_seconds, run.duration
    return float(reported) if reported is not None else duration.total_seconds() if duration else 0.0


def _left(
    study: LinkedStudy,
    runs: Sequence[FrozenTrial],
    limit: float,
    price: Callable[[FrozenTrial], float],
    usual: float,
) -> int:
    """Return the number of further confirmation runs that fit into a limit, in seconds or dollars.

    `price` returns the cost of one second of a run, and `usual` is that of a further run. A lost run whose retry
    resumed from its saved state is counted in the retry's time.
    """
    confirm, overhead = study.plan.confirm, overhead_seconds(runs)
    left = limit
    resumed = {attributes_of(r).retries for r in runs if RESUMED_AT in r.user_attrs}
    for run in runs:
        if run.state.is_finished():
            left -= (0.0 if run.number in resumed else ran_seconds(run)) * price(run)
        else:
            left -= (budget_seconds(run, confirm) + overhead) * price(run)
    return max(0, math.floor(left / ((confirm.budget_seconds + overhead) * usual) + 1e-9))
