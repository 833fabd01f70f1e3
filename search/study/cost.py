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


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What the hours or the dollars of a fidelity leave for further runs."""

    left: float
    """Seconds or dollars that neither ended runs have taken, nor those under way or queued may take."""
    run_seconds: float
    """Seconds of a whole further run, overhead included."""
    price: float
    """Dollars of one of its seconds; 1 where seconds are counted."""

    @property
    def runs(self) -> int:
        """Number of further runs that fit if none of them is pruned."""
        return max(0, math.floor(self.left / (self.run_seconds * self.price) + 1e-9))

    def expected_runs(self, seconds: float) -> int:
        """Return the number of further runs if each takes so many seconds; the last starts where a whole one fits."""
        spare = self.left / self.price - self.run_seconds
        return 1 + math.floor(spare / max(seconds, 1e-9) + 1e-9) if self.runs else 0


def allowances(
    study: LinkedStudy,
    fidelity: Fidelity,
    trials: Sequence[FrozenTrial],
    workers: Sequence[RegisteredWorker] | None = None,
) -> list[Allowance]:
    """Return what `max_hours` and `max_usd` of [proxy] or [confirm] leave; empty if neither is set.

    `trials` are all of that fidelity. `workers` are the study's; if they are not given, they are read from the database
    when their prices are needed. The answer is the same for every worker: a further run is taken to cost the study's
    own price and an unscaled budget.
    """
    found = []
    if fidelity.max_hours:
        found.append(_left(fidelity, trials, fidelity.max_hours * 3600, lambda trial: 1.0, 1.0))
    if fidelity.max_usd:
        prices = {e.name: e.usd_per_hour / 3600 for e in (registry_of(study).workers() if workers is None else workers)}
        usual = study.plan.cost.usd_per_gpu_hour / 3600

        def price(trial: FrozenTrial) -> float:
            return prices.get(attributes_of(trial).worker or "", usual)

        found.append(_left(fidelity, trials, fidelity.max_usd, price, usual))
    return found


def affordable_runs(
    study: LinkedStudy,
    fidelity: Fidelity,
    trials: Sequence[FrozenTrial],
    workers: Sequence[RegisteredWorker] | None = None,
) -> int | None:
    """Return the number of further runs that a fidelity's own limits allow; None if it has none. See `allowances`."""
    return min((a.runs for a in allowances(study, fidelity, trials, workers)), default=None)


def proxies_left(study: LinkedStudy, trials: Sequence[FrozenTrial]) -> int:
    """Return the number of further proxies that may begin now, by `trials`, `max_hours` and `max_usd` of [proxy].

    With runs under way it may rise again: one that is pruned leaves time.
    """
    proxy = study.plan.proxy
    counted = max(0, proxy.trials - study.proxy_queue.counted(trials))
    affordable = affordable_runs(study, proxy, trials) if counted else None
    return counted if affordable is None else min(counted, affordable)


def ran_seconds(run: FrozenTrial) -> float:
    """Return the seconds that an ended run took; one that was lost, without reporting them, from start to end."""
    reported, duration = attributes_of(run).total_seconds, run.duration
    return float(reported) if reported is not None else max(0.0, duration.total_seconds()) if duration else 0.0


def _left(
    fidelity: Fidelity, trials: Sequence[FrozenTrial], limit: float, price: Callable[[FrozenTrial], float], usual: float
) -> Allowance:
    """Return what these trials leave of a limit, in seconds or dollars.

    `price` returns the cost of one second of a run, and `usual` is that of a further run. A lost run whose retry
    resumed from its saved state is counted in the retry's time.
    """
    overhead, left = overhead_seconds(trials), limit
    resumed = {attributes_of(r).retries for r in trials if RESUMED_AT in r.user_attrs}
    for run in trials:
        if run.state.is_finished():
            left -= (0.0 if run.number in resumed else ran_seconds(run)) * price(run)
        else:
            left -= (budget_seconds(run, fidelity) + overhead) * price(run)
    return Allowance(left=left, run_seconds=fidelity.budget_seconds + overhead, price=usual)
