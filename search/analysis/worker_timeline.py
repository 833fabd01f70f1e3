"""The timeline of workers and their trials, on one clock, without machines' names."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from optuna.trial import FrozenTrial, TrialState

from search.analysis.snapshot import Snapshot
from search.study.cost import budget_seconds
from search.study.trials import attributes_of
from storage.registry.workers import RegisteredWorker

HALF_HOUR = 1800.0
"""Seconds; time zones differ by multiples of it."""
SLACK_SECONDS = 120.0
"""Largest difference, in seconds, between the clocks of two machines."""


@dataclass(frozen=True, kw_only=True)
class TrialSpan:
    """One trial on one worker."""

    worker: str
    """Label without the host's name: "worker 1", or "worker 1 (RTX 4090)" if devices differ."""
    proxy: bool
    """Whether it is a proxy trial; else a confirmation run."""
    trial: FrozenTrial
    start: float
    """Seconds since 1970, like `end`."""
    end: float
    trained: float
    """Seconds of training on the clock; the rest is start-up, compilation and evaluation."""
    usd_per_hour: float

    @property
    def kind(self) -> str:
        """Kind and state of the trial, in words."""
        if not self.proxy:
            return "confirmation" if self.trial.state != TrialState.FAIL else "failed or lost"
        kinds = {
            TrialState.COMPLETE: "proxy, finished",
            TrialState.PRUNED: "proxy, pruned",
            TrialState.RUNNING: "proxy, running",
        }
        return kinds.get(self.trial.state, "failed or lost")


@dataclass(frozen=True, kw_only=True)
class WorkerSpan:
    """One worker, from its start to its end."""

    worker: str
    start: float
    end: float
    usd_per_hour: float


def worker_spans(snapshot: Snapshot) -> list[WorkerSpan]:
    """Return all registered workers, in the order of their starts."""
    return [
        WorkerSpan(worker=name, start=e.started, end=e.started + e.paid_seconds, usd_per_hour=e.usd_per_hour)
        for e, name in zip(snapshot.workers, worker_labels(snapshot.workers), strict=True)
    ]


def worker_labels(workers: Sequence[RegisteredWorker]) -> list[str]:
    """Return the labels of workers, in their order."""
    alike = len({e.device for e in workers}) < 2
    return [f"worker {i}" + ("" if alike else f" ({e.device})") for i, e in enumerate(workers, start=1)]


def labels_by_worker(workers: Sequence[RegisteredWorker], trials: Sequence[FrozenTrial]) -> dict[str, str]:
    """Return the label of each worker by its name; workers that were never registered come last."""
    labels = dict(zip((e.name for e in workers), worker_labels(workers), strict=True))
    for t in trials:
        if (worker := attributes_of(t).worker) is not None:
            labels.setdefault(worker, f"worker {len(labels) + 1}")
    return labels


def trial_spans(snapshot: Snapshot) -> list[TrialSpan]:
    """Return all trials that were started, worker by worker."""
    by_worker: dict[str, list[tuple[bool, FrozenTrial]]] = {}
    for proxy, trials in ((True, snapshot.proxies), (False, snapshot.runs)):
        for t in trials:
            worker = attributes_of(t).worker
            if t.datetime_start is not None and worker is not None:
                by_worker.setdefault(worker, []).append((proxy, t))
    labels, entries = (
        labels_by_worker(snapshot.workers, (*snapshot.proxies, *snapshot.runs)),
        {e.name: e for e in snapshot.workers},
    )
    spans = []
    for name in sorted(by_worker, key=list(labels).index):
        entry = entries.get(name)
        shift = zone_shift(entry, [t for _, t in by_worker[name]]) if entry else 0.0
        spans += [_span(snapshot, labels[name], entry, proxy, t, shift) for proxy, t in by_worker[name]]
    return spans


def _span(
    snapshot: Snapshot, worker: str, entry: RegisteredWorker | None, proxy: bool, t: FrozenTrial, shift: float
) -> TrialSpan:
    assert t.datetime_start is not None
    start = epoch(t.datetime_start) + shift
    last = epoch(t.datetime_complete) + shift if t.datetime_complete else (entry.now if entry else start)
    end = max(start, last)
    fidelity = snapshot.plan.proxy if proxy else snapshot.plan.confirm
    reported = attributes_of(t).train_seconds
    estimate = budget_seconds(t, fidelity) * (t.last_step or 0) / 100
    return TrialSpan(
        worker=worker,
        proxy=proxy,
        trial=t,
        start=start,
        end=end,
        trained=min(end - start, estimate if reported is None else reported),
        usd_per_hour=entry.usd_per_hour if entry else snapshot.plan.cost.usd_per_gpu_hour,
    )


def epoch(when: datetime) -> float:
    """Return a trial's time, which has no zone, in seconds since 1970, as if it were UTC."""
    return when.replace(tzinfo=UTC).timestamp()


def zone_shift(entry: RegisteredWorker, trials: Sequence[FrozenTrial]) -> float:
    """Return the seconds to add to trials' times so that they lie within their worker's lifetime.

    Optuna stores times in the machine's own zone, the registry by the server's clock; zones differ by half hours.
    """
    starts = [epoch(t.datetime_start) for t in trials if t.datetime_start]
    low = entry.started - SLACK_SECONDS
    high = entry.started + entry.paid_seconds + SLACK_SECONDS
    shifts = [k * HALF_HOUR for k in range(-28, 29)]
    fitting = [s for s in shifts if low <= min(starts) + s and max(starts) + s <= high]
    # The smallest, since a worker starts its first trial soon after its own start.
    return 0.0 if not fitting or 0.0 in fitting else min(fitting)


def first_start(trials: Sequence[TrialSpan], workers: Sequence[WorkerSpan]) -> float:
    """Return when the first worker started, in seconds since 1970."""
    return min([t.start for t in trials] + [w.start for w in workers])


def hours_unit(seconds: float) -> tuple[str, float]:
    """Return the unit to show a time of this length in, and its seconds."""
    return ("hours", 3600.0) if seconds > 3 * 3600 else ("minutes", 60.0)
