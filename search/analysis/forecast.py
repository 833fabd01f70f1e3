"""Forecast of a study: remaining runs, worker hours, time to its end, dollars. Pure functions of its snapshot.

The remaining runs are scheduled on the live workers in the order in which a study runs: first runs under way and
proxies, each on the worker that is free first; when all have ended, the runs on rungs, every candidate's first run at
the full budget, and further seeds two at a time. How many seeds the race will start depends on its results: they are
counted as `seeds` runs for each candidate on average, so that the end is an estimate, and mostly comes sooner.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.common.durations import parse_duration
from search.study.cost import budget_seconds, overhead_seconds, run_usd
from search.study.plan import Plan
from search.study.settings import Fidelity
from search.study.trials import attributes_of, configuration_key, final_budget


def refused_by_cap(snapshot: Snapshot) -> str:
    """Return the reason why the cost cap stops the next run; empty if it doesn't, or if there is no cap."""
    plan = snapshot.plan
    kinds = [(plan.confirm, snapshot.runs), (plan.proxy, snapshot.proxies)]
    if proxies_to_come(snapshot):
        kinds.reverse()
    elif not any(not t.state.is_finished() for t in snapshot.runs):
        return ""
    fidelity, trials = kinds[0]
    usd = run_usd(trials, fidelity.budget_seconds, plan.cost.usd_per_gpu_hour)
    return "" if snapshot.bill.fits(usd) else snapshot.bill.refusal(plan.name, usd)


PAIR = 2
"""Runs that the race has under way at a time once all candidates have run: the leader's and its rival's."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The expected rest of a study."""

    proxies: int
    """Number of proxies that haven't started; an estimate where hours or dollars limit them."""
    confirmations: int
    """Number of confirmation runs that haven't started; an estimate while the race goes on."""
    spent_seconds: float
    """Seconds of all workers until now, idle or not."""
    left_seconds: float
    """Seconds of training and overhead, summed over runs under way and runs to come."""
    eta_seconds: float | None
    """Seconds until the end with the live workers; None if there are none."""
    usd_projected: float
    """Total dollars of all workers at the end."""
    capped: bool
    """Whether the cap will end the study before its runs do."""

    @property
    def over(self) -> bool:
        """Whether nothing is under way or to come."""
        return not self.left_seconds


@dataclass(frozen=True, kw_only=True)
class RemainingWork:
    """Seconds of the remaining runs, grouped by when they can run."""

    under_way: Mapping[str, float] = field(default_factory=dict)
    """Remaining seconds of the run that each worker is at, by the worker's name."""
    now: Sequence[float] = ()
    """Runs that any worker can start now."""
    later: Sequence[Sequence[float]] = ()
    """Groups of runs, each of which waits for all before it."""
    pairs: Sequence[float] = ()
    """Runs that come last, two at a time."""

    @property
    def seconds(self) -> float:
        """Total seconds."""
        return sum(self.under_way.values()) + sum(self.now) + sum(map(sum, self.later)) + sum(self.pairs)

    def span(self, workers: Sequence[str]) -> float | None:
        """Return the seconds until the last run has ended with these workers; None without workers."""
        if not workers:
            return None
        # Other workers take over the runs of lost ones.
        left = [s for name, s in self.under_way.items() if name not in workers]
        end = finish_seconds([self.under_way.get(name, 0.0) for name in workers], [*left, *self.now])
        for group in self.later:
            end += finish_seconds([0.0] * len(workers), group)
        return end + finish_seconds([0.0] * min(PAIR, len(workers)), self.pairs)


def finish_seconds(free: Sequence[float], runs: Sequence[float]) -> float:
    """Return when the last run ends if each is taken, in order, by the worker that is free first (Graham, 1969).

    `free` are the seconds after which each worker is free.
    """
    heap = list(free)
    heapq.heapify(heap)
    for seconds in runs:
        heapq.heapreplace(heap, heap[0] + seconds)
    return max(heap)


def forecast(snapshot: Snapshot) -> Forecast:
    """Return the forecast of a study."""
    bill, alive = snapshot.bill, [e for e in snapshot.workers if e.alive]
    work, proxies, runs = remaining_work(snapshot)
    left, eta = work.seconds, work.span([e.name for e in alive])
    per_second = sum(e.usd_per_hour for e in alive) / 3600
    price = snapshot.plan.cost.usd_per_gpu_hour / 3600
    usd = bill.spent + (left * price if eta is None else eta * per_second)
    capped = bool(bill.cap and usd > bill.cap * (1 + 1e-9))
    if capped:
        usd = max(bill.cap, bill.spent)
        eta = (usd - bill.spent) / per_second if eta is not None and per_second else eta
        left = min(left, (usd - bill.spent) / price) if price else left
    return Forecast(
        proxies=proxies,
        confirmations=runs,
        spent_seconds=spent_seconds(snapshot),
        left_seconds=left,
        eta_seconds=eta,
        usd_projected=usd,
        capped=capped,
    )


def spent_seconds(snapshot: Snapshot) -> float:
    """Return the workers' seconds until now; for trials of unregistered workers, those that the trials report."""
    registered = {e.name for e in snapshot.workers}
    others = [t for t in [*snapshot.proxies, *snapshot.runs] if attributes_of(t).worker not in registered]
    seconds = [attributes_of(t).total_seconds or 0.0 for t in others if t.state.is_finished()]
    return sum(e.paid_seconds for e in snapshot.workers) + sum(seconds)


def remaining_work(snapshot: Snapshot) -> tuple[RemainingWork, int, int]:
    """Return the remaining work, and how many proxies and confirmation runs haven't started."""
    plan = snapshot.plan
    waiting = {kind: [t for t in trials if t.state == TrialState.WAITING] for kind, trials in _kinds(snapshot)}
    proxies = proxies_to_come(snapshot) + len(waiting["proxy"])
    first, further = _race_to_come(snapshot)
    final = [r for r in snapshot.runs if final_budget(plan, r)]
    long = expected_seconds(final, plan.confirm)
    overhead = overhead_seconds(snapshot.runs)
    queued = [budget_seconds(r, plan.confirm) + overhead for r in waiting["confirm"]]
    rungs = [[parse_duration(rung) + overhead] * count for rung, count in _rungs_to_come(snapshot).items() if count]
    work = RemainingWork(
        under_way=_under_way(snapshot),
        now=[expected_seconds(snapshot.proxies, plan.proxy)] * proxies + queued,
        later=[*rungs, *([[long] * first] if first else [])],
        pairs=[long] * further,
    )
    return work, proxies, len(queued) + sum(map(len, rungs)) + first + further


def proxies_to_come(snapshot: Snapshot) -> int:
    """Return the number of proxies that aren't queued yet; where hours or dollars limit them, an estimate.

    It assumes that each takes as long as those that ended took on average, pruned ones included.
    """
    counted = max(0, snapshot.plan.proxy.trials - snapshot.slots)
    seconds = expected_seconds(snapshot.proxies, snapshot.plan.proxy)
    return min([counted, *(a.expected_runs(seconds) for a in snapshot.proxy_allowances)])


def expected_seconds(trials: Sequence[FrozenTrial], fidelity: Fidelity) -> float:
    """Return the mean seconds of runs that ended, pruned ones included; before any has ended, the budget."""
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    times = [seconds for t in ended if (seconds := attributes_of(t).total_seconds) is not None]
    return float(np.mean(times)) if times else fidelity.budget_seconds


def _kinds(snapshot: Snapshot) -> tuple[tuple[str, Sequence[FrozenTrial]], tuple[str, Sequence[FrozenTrial]]]:
    return ("proxy", snapshot.proxies), ("confirm", snapshot.runs)


def _under_way(snapshot: Snapshot) -> dict[str, float]:
    """Return the remaining seconds of each worker's run, by the worker's name, assuming that none is pruned."""
    left = {}
    for kind, trials in _kinds(snapshot):
        fidelity = snapshot.plan.proxy if kind == "proxy" else snapshot.plan.confirm
        overhead = overhead_seconds(trials)
        for t in trials:
            if t.state == TrialState.RUNNING:
                whole = budget_seconds(t, fidelity) + overhead
                left[attributes_of(t).worker or f"{kind} {t.number}"] = whole * (1 - (t.last_step or 0) / 100)
    return left


def _race_to_come(snapshot: Snapshot) -> tuple[int, int]:
    """Return the numbers of first runs at the full budget and of further seeds that aren't queued yet."""
    plan = snapshot.plan
    if snapshot.race_over or not plan.confirmations:
        return 0, 0
    runs = [r for r in snapshot.runs if final_budget(plan, r) and r.number not in replaced_trials(snapshot.runs)]
    entered = len({configuration_key(r) for r in runs})
    field = max(entered, _candidates(plan, _available(snapshot)))
    first = field - entered
    further = max(0, math.floor(field * plan.confirm.seeds) - first - len(runs))
    if snapshot.affordable is not None:
        first = min(first, snapshot.affordable)
        further = min(further, snapshot.affordable - first)
    return first, further


def replaced_trials(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of lost trials that were retried."""
    return {number for t in trials if (number := attributes_of(t).retries) is not None}


def _available(snapshot: Snapshot) -> int:
    """Return the number of proxies that can be promoted, those to come included."""
    promotable = [
        t for t in snapshot.proxies if t.state in (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
    ]
    searched = sum(attributes_of(t).baseline is None for t in promotable)
    return searched + proxies_to_come(snapshot)


def _candidates(plan: Plan, available: int) -> int:
    """Return the number of configurations that run at the full budget before the race widens."""
    confirm = plan.confirm
    top = min(confirm.top, available)
    passing = top * len(confirm.lr_scales)
    for _ in confirm.rungs:
        passing = min(passing, max(2, math.ceil(passing / 2)))
    return len(plan.baselines) + passing + min(confirm.random, available - top)


def _rungs_to_come(snapshot: Snapshot) -> dict[str, int]:
    """Return the number of runs on each rung that aren't queued yet."""
    plan, missing = snapshot.plan, {}
    climbers = min(plan.confirm.top, _available(snapshot)) * len(plan.confirm.lr_scales)
    for rung in plan.confirm.rungs:
        queued = {configuration_key(r) for r in snapshot.runs if attributes_of(r).budget == rung}
        missing[rung] = 0 if snapshot.race_over else max(0, climbers - len(queued))
        climbers = min(climbers, max(2, math.ceil(climbers / 2)))
    return missing
