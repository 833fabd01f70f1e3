"""What every worker did over time: from trials and the registry, on one clock, without any machine's name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.study.cost import budget_seconds
from search.study.trials import attributes_of
from storage.registry.workers import Entry

HALF_HOUR = 1800.0
SLACK_SECONDS = 120.0
"""Clocks of machines differ by so much."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """One trial on one worker."""

    worker: str
    """Such as "worker 1"; its host's name is its owner's. Where devices differ it is "worker 1 (RTX 4090)"."""
    proxy: bool
    trial: FrozenTrial
    start: float
    """Seconds since 1970, as `end`."""
    end: float
    trained: float
    """Seconds of training on the clock; the rest is start-up, compilation and evaluation."""
    usd_per_hour: float

    @property
    def kind(self) -> str:
        """What it was, in words."""
        if not self.proxy:
            return "confirmation" if self.trial.state != TrialState.FAIL else "failed or lost"
        kinds = {
            TrialState.COMPLETE: "proxy, finished",
            TrialState.PRUNED: "proxy, pruned",
            TrialState.RUNNING: "proxy, running",
        }
        return kinds.get(self.trial.state, "failed or lost")


@dataclass(frozen=True, kw_only=True)
class Presence:
    """One worker, from its start to its end."""

    worker: str
    start: float
    end: float
    usd_per_hour: float


def presences(facts: Snapshot) -> list[Presence]:
    """Return every worker that the registry knows, in the order of their starts."""
    return [
        Presence(worker=name, start=e.started, end=e.started + e.paid_seconds, usd_per_hour=e.usd_per_hour)
        for e, name in zip(facts.workers, names(facts.workers), strict=True)
    ]


def names(workers: Sequence[Entry]) -> list[str]:
    """Return what workers are called, in their order."""
    alike = len({e.device for e in workers}) < 2
    return [f"worker {i}" + ("" if alike else f" ({e.device})") for i, e in enumerate(workers, start=1)]


def called(workers: Sequence[Entry], trials: Sequence[FrozenTrial]) -> dict[str, str]:
    """Return what each worker is called, those that never entered the registry last."""
    known = dict(zip((e.name for e in workers), names(workers), strict=True))
    for t in trials:
        if (worker := attributes_of(t).worker) is not None:
            known.setdefault(worker, f"worker {len(known) + 1}")
    return known


def spans(facts: Snapshot) -> list[Span]:
    """Return every trial that was begun, worker by worker."""
    by_worker: dict[str, list[tuple[bool, FrozenTrial]]] = {}
    for proxy, trials in ((True, facts.proxies), (False, facts.runs)):
        for t in trials:
            worker = attributes_of(t).worker
            if t.datetime_start is not None and worker is not None:
                by_worker.setdefault(worker, []).append((proxy, t))
    known, entries = called(facts.workers, (*facts.proxies, *facts.runs)), {e.name: e for e in facts.workers}
    found = []
    for name in sorted(by_worker, key=list(known).index):
        entry = entries.get(name)
        shift = zone_shift(entry, [t for _, t in by_worker[name]]) if entry else 0.0
        found += [_span(facts, known[name], entry, proxy, t, shift) for proxy, t in by_worker[name]]
    return found


def _span(facts: Snapshot, worker: str, entry: Entry | None, proxy: bool, t: FrozenTrial, shift: float) -> Span:
    assert t.datetime_start is not None
    start = epoch(t.datetime_start) + shift
    last = epoch(t.datetime_complete) + shift if t.datetime_complete else (entry.now if entry else start)
    end = max(start, last)
    fidelity = facts.plan.proxy if proxy else facts.plan.confirm
    told = attributes_of(t).train_seconds
    so_far = budget_seconds(t, fidelity) * (t.last_step or 0) / 100
    return Span(
        worker=worker,
        proxy=proxy,
        trial=t,
        start=start,
        end=end,
        trained=min(end - start, so_far if told is None else told),
        usd_per_hour=entry.usd_per_hour if entry else facts.plan.cost.usd_per_gpu_hour,
    )


def epoch(when: datetime) -> float:
    """Return a trial's time, which has no zone, as seconds since 1970, as if it were UTC."""
    return when.replace(tzinfo=UTC).timestamp()


def zone_shift(entry: Entry, trials: Sequence[FrozenTrial]) -> float:
    """Return what to add to trials' times so that they lie within their worker's presence.

    Optuna notes times by the machine's own zone; the registry by the server's clock. Zones differ by half hours.
    """
    starts = [epoch(t.datetime_start) for t in trials if t.datetime_start]
    low = entry.started - SLACK_SECONDS
    high = entry.started + entry.paid_seconds + SLACK_SECONDS
    shifts = [k * HALF_HOUR for k in range(-28, 29)]
    fitting = [s for s in shifts if low <= min(starts) + s and max(starts) + s <= high]
    return 0.0 if not fitting or 0.0 in fitting else min(fitting)  # a worker begins its first trial soon


def beginning(did: Sequence[Span], were: Sequence[Presence]) -> float:
    """Return when the first worker started."""
    return min([s.start for s in did] + [w.start for w in were])


def hours_unit(seconds: float) -> tuple[str, float]:
    """Return the unit that suits so long a time, and its seconds."""
    return ("hours", 3600.0) if seconds > 3 * 3600 else ("minutes", 60.0)
