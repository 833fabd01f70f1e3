"""The fleet as people see it: machines, what each worker does, what it has done and cost."""

from collections import Counter
from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.console import Group
from rich.text import Text

from search.cloud.rental import is_machine_of
from search.cloud.skypilot import Machine
from search.common.durations import format_duration
from search.show.columns import Column, Columns
from search.study.cost import bill, registry_of, stored_cap
from search.study.study import LinkedStudy
from search.study.trials import attributes_of, run_label
from storage.registry.workers import RegisteredWorker

COLUMNS = (
    Column(name="worker"),
    Column(name="rented as", weight=3, below=True),
    Column(name="device", weight=4, below=True),
    Column(name="does"),
    Column(name="trials", right=True, weight=1),
    Column(name="$/h", right=True, weight=2),
    Column(name="$", right=True),
    Column(name="seen", right=True),
)
DEVICE = 2


def fleet(study: LinkedStudy, rented: Sequence[Machine]) -> Group:
    """Return every worker there was, machines that have none yet, and the sum."""
    entries = registry_of(study).workers()
    running, done = _running(study), _done(study)
    rows = [
        _row(e, doing(e, running.get(e.name)), done[e.name]) for e in sorted(entries, key=lambda e: e.state == "ended")
    ]
    launches = {e.launch for e in entries if e.alive}
    for m in rented:
        if is_machine_of(study.plan.name, m.name, study.proxy_queue.identity) and m.name not in launches:
            rows.append(("–", m.name, m.where, f"{m.status.lower()}, no worker", "–", "?", "–", "–"))
    title, devices = f"{study.plan.name}: workers", {row[DEVICE] for row in rows}
    if len(devices) == 1 < len(rows):  # said once for all
        title += f", all on {devices.pop()}"
        rows = [(*row[:DEVICE], "", *row[DEVICE + 1 :]) for row in rows]
    table = [Columns(COLUMNS, rows)] if rows else []
    return Group(Text(title, style="bold"), *table, Text(_sum(study, entries)))


def _row(e: RegisteredWorker, does: str, trials: int) -> tuple[str, ...]:
    price = f"{e.usd_per_hour:.2f}" if e.alive else "–"
    seen = f"{format_duration(max(1.0, e.silent_seconds))} ago"
    return e.name, e.launch or "–", e.device, does, str(trials), price, f"{e.usd:.2f}", seen


def doing(entry: RegisteredWorker, trial: tuple[bool, FrozenTrial] | None) -> str:
    """Return what a worker does now, in a few words."""
    if not entry.alive:
        return entry.state
    if trial is None:
        return "idle"
    proxy, run = trial
    return f"{run_label(proxy, run.number)}, {run.last_step or 0}%"


def _running(study: LinkedStudy) -> dict[str, tuple[bool, FrozenTrial]]:
    kinds = ((True, study.proxy_trials()), (False, study.confirm_trials()))
    running = [(proxy, t) for proxy, trials in kinds for t in trials if t.state == TrialState.RUNNING]
    return {attributes_of(t).worker or "": (proxy, t) for proxy, t in running}


def _done(study: LinkedStudy) -> Counter[str]:
    trials = [*study.proxy_trials(), *study.confirm_trials()]
    ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    return Counter(attributes_of(t).worker or "" for t in ended)


def _sum(study: LinkedStudy, entries: Sequence[RegisteredWorker]) -> str:
    total = bill(study, entries, stored_cap(study))
    states = Counter(e.state for e in entries)
    counts = ", ".join(f"{states[s]} {s}" for s in ("alive", "dead", "ended") if states[s]) or "none yet"
    hourly = sum(e.usd_per_hour for e in entries if e.alive)
    cap = f" of ${total.cap:.2f} (max_usd)" if total.cap else ""
    return f"workers: {counts}; ${hourly:.2f} an hour now; ${total.spent:.2f}{cap} so far."
