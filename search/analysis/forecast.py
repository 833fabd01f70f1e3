"""What is still to come of a study: runs, worker hours, the time to its end, dollars. Pure functions of its facts.

What is to come is laid upon the workers that live, in the order in which a study runs: what is under way and proxies,
each on the worker that is free first; when all have ended the long runs' rungs, everybody's first run at the full
budget, and further seeds two at a time. How many seeds the race will ask for depends on what it finds: they are
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
from search.study.trials import attributes_of, final_budget, who


def refused_by_cap(facts: Snapshot) -> str:
    """Return what the cost cap keeps from being started; empty where it doesn't, or there is none."""
    plan = facts.plan
    kinds = [(plan.confirm, facts.runs), (plan.proxy, facts.proxies)]
    if facts.slots < plan.proxy.trials:
        kinds.reverse()
    elif not any(not t.state.is_finished() for t in facts.runs):
        return ""
    fidelity, trials = kinds[0]
    usd = run_usd(trials, fidelity.budget_seconds, plan.cost.usd_per_gpu_hour)
    return "" if facts.bill.fits(usd) else facts.bill.refusal(plan.name, usd)


PAIR = 2
"""Runs that the race has under way at a time once everybody ran: the leader's and its rival's."""


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """A study's end, as far as it can be foreseen."""

    proxies: int
    """Proxies that haven't started."""
    confirmations: int
    """Long runs that haven't started, an estimate while the race goes on."""
    spent_seconds: float
    """Of all workers until now, idle or not."""
    left_seconds: float
    """Of training and its overhead, summed over runs under way and to come."""
    eta_seconds: float | None
    """Until the end with the workers that live; None where none does."""
    usd_projected: float
    """In the end, of all workers."""
    capped: bool
    """Whether the cap will end the study before its runs do."""

    @property
    def over(self) -> bool:
        """Whether nothing is under way or to come."""
        return not self.left_seconds


@dataclass(frozen=True, kw_only=True)
class Work:
    """Seconds of the runs to come, in the order in which they can run."""

    under_way: Mapping[str, float] = field(default_factory=dict)
    """Left of the run that a worker is at, by its name."""
    now: Sequence[float] = ()
    """Runs that any worker can start."""
    later: Sequence[Sequence[float]] = ()
    """Groups of runs, each of which waits for all before it."""
    pairs: Sequence[float] = ()
    """Runs that come last, two at a time."""

    @property
    def seconds(self) -> float:
        """Of all of them together."""
        return sum(self.under_way.values()) + sum(self.now) + sum(map(sum, self.later)) + sum(self.pairs)

    def span(self, workers: Sequence[str]) -> float | None:
        """Return the time until the last has ended with these workers; None without any."""
        if not workers:
            return None
        left = [s for name, s in self.under_way.items() if name not in workers]  # which others will take over
        end = laid([self.under_way.get(name, 0.0) for name in workers], [*left, *self.now])
        for group in self.later:
            end += laid([0.0] * len(workers), group)
        return end + laid([0.0] * min(PAIR, len(workers)), self.pairs)


def laid(free: Sequence[float], runs: Sequence[float]) -> float:
    """Return when the last run ends, each taken in turn by the worker that is free first (Graham, 1969)."""
    heap = list(free)
    heapq.heapify(heap)
    for seconds in runs:
        heapq.heapreplace(heap, heap[0] + seconds)
    return max(heap)


def outlook(facts: Snapshot) -> Outlook:
    """Return what is still to come of a study, and what that costs."""
    bill, alive = facts.bill, [e for e in facts.workers if e.alive]
    work, proxies, runs = to_come(facts)
    left, eta = work.seconds, work.span([e.name for e in alive])
    per_second = sum(e.usd_per_hour for e in alive) / 3600
    price = facts.plan.cost.usd_per_gpu_hour / 3600
    usd = bill.spent + (left * price if eta is None else eta * per_second)
    capped = bool(bill.cap and usd > bill.cap * (1 + 1e-9))
    if capped:
        usd = max(bill.cap, bill.spent)
        eta = (usd - bill.spent) / per_second if eta is not None and per_second else eta
        left = min(left, (usd - bill.spent) / price) if price else left
    return Outlook(
        proxies=proxies,
        confirmations=runs,
        spent_seconds=spent_seconds(facts),
        left_seconds=left,
        eta_seconds=eta,
        usd_projected=usd,
        capped=capped,
    )


def spent_seconds(facts: Snapshot) -> float:
    """Return the workers' time until now; for a trial of a worker that no registry knew, what it told."""
    known = {e.name for e in facts.workers}
    strangers = [t for t in [*facts.proxies, *facts.runs] if attributes_of(t).worker not in known]
    told = [attributes_of(t).total_seconds or 0.0 for t in strangers if t.state.is_finished()]
    return sum(e.paid_seconds for e in facts.workers) + sum(told)


def to_come(facts: Snapshot) -> tuple[Work, int, int]:
    """Return the work to come, and how many proxies and long runs of it haven't started."""
    plan = facts.plan
    waiting = {kind: [t for t in trials if t.state == TrialState.WAITING] for kind, trials in _kinds(facts)}
    proxies = max(0, plan.proxy.trials - facts.slots) + len(waiting["proxy"])
    first, further = _race_to_come(facts)
    final = [r for r in facts.runs if final_budget(plan, r)]
    long = usual_seconds(final, plan.confirm)
    overhead = overhead_seconds(facts.runs)
    queued = [budget_seconds(r, plan.confirm) + overhead for r in waiting["confirm"]]
    rungs = [[parse_duration(rung) + overhead] * count for rung, count in _rungs_to_come(facts).items() if count]
    work = Work(
        under_way=_under_way(facts),
        now=[usual_seconds(facts.proxies, plan.proxy)] * proxies + queued,
        later=[*rungs, *([[long] * first] if first else [])],
        pairs=[long] * further,
    )
    return work, proxies, len(queued) + sum(map(len, rungs)) + first + further


def usual_seconds(trials: Sequence[FrozenTrial], fidelity: Fidelity) -> float:
    """Return the mean time of runs that ended, pruned ones among them; before any, their budget."""
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    known = [seconds for t in ended if (seconds := attributes_of(t).total_seconds) is not None]
    return float(np.mean(known)) if known else fidelity.budget_seconds


def _kinds(facts: Snapshot) -> tuple[tuple[str, Sequence[FrozenTrial]], tuple[str, Sequence[FrozenTrial]]]:
    return ("proxy", facts.proxies), ("confirm", facts.runs)


def _under_way(facts: Snapshot) -> dict[str, float]:
    """Return by worker what is left of its run, as if none were pruned."""
    left = {}
    for kind, trials in _kinds(facts):
        fidelity = facts.plan.proxy if kind == "proxy" else facts.plan.confirm
        overhead = overhead_seconds(trials)
        for t in trials:
            if t.state == TrialState.RUNNING:
                whole = budget_seconds(t, fidelity) + overhead
                left[attributes_of(t).worker or f"{kind} {t.number}"] = whole * (1 - (t.last_step or 0) / 100)
    return left


def _race_to_come(facts: Snapshot) -> tuple[int, int]:
    """Return how many first runs at the full budget, and how many further seeds, aren't queued yet."""
    plan = facts.plan
    if facts.race_over or not plan.confirmations:
        return 0, 0
    runs = [r for r in facts.runs if final_budget(plan, r) and r.number not in handed_on(facts.runs)]
    entered = len({who(r) for r in runs})
    field = max(entered, _candidates(plan, _available(facts)))
    first = field - entered
    further = max(0, math.floor(field * plan.confirm.seeds) - first - len(runs))
    if facts.affordable is not None:
        first = min(first, facts.affordable)
        further = min(further, facts.affordable - first)
    return first, further


def handed_on(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of trials that were lost and have a successor."""
    return {number for t in trials if (number := attributes_of(t).retries) is not None}


def _available(facts: Snapshot) -> int:
    """Return how many proxies can be promoted, those to come among them."""
    hopeful = [t for t in facts.proxies if t.state in (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)]
    mine = sum(attributes_of(t).baseline is None for t in hopeful)
    return mine + max(0, facts.plan.proxy.trials - facts.slots)


def _candidates(plan: Plan, available: int) -> int:
    """Return how many configurations run at the full budget before the race widens."""
    confirm = plan.confirm
    top = min(confirm.top, available)
    passing = top * len(confirm.lr_scales)
    for _ in confirm.rungs:
        passing = min(passing, max(2, math.ceil(passing / 2)))
    return len(plan.baselines) + passing + min(confirm.random, available - top)


def _rungs_to_come(facts: Snapshot) -> dict[str, int]:
    """Return for each rung how many runs on it aren't queued yet."""
    plan, missing = facts.plan, {}
    climbers = min(plan.confirm.top, _available(facts)) * len(plan.confirm.lr_scales)
    for rung in plan.confirm.rungs:
        there = {who(r) for r in facts.runs if attributes_of(r).budget == rung}
        missing[rung] = 0 if facts.race_over else max(0, climbers - len(there))
        climbers = min(climbers, max(2, math.ceil(climbers / 2)))
    return missing
