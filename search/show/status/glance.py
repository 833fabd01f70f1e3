"""A study at a glance, made from its facts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from optuna.trial import FrozenTrial, TrialState

from search.analysis.forecast import Forecast, forecast, refused_by_cap, replaced_trials
from search.analysis.pruning_summary import is_open, open_from, saved_seconds
from search.analysis.snapshot import Snapshot
from search.common.next_commands import command
from search.show.status.overview import (
    SCHEMA_VERSION,
    Correlation,
    Cost,
    Counts,
    Foretold,
    Found,
    Overview,
    TransferNow,
    Warned,
    WorkerNow,
)
from search.show.wording import counted, span
from search.study.results import Confirmed, Noise
from search.study.trials import attributes_of, run_label
from storage.registry.workers import RegisteredWorker

URGENT = ("waiting", "idle", "stopped", "cap")
"""Kinds of warnings to act upon; the others are caveats."""


def glance(facts: Snapshot, now: datetime | None = None) -> Overview:
    """Return a study at a glance; `now` is taken where no worker has told the server's time."""
    ahead = forecast(facts)
    state = _state(facts, ahead)
    return Overview(
        schema_version=SCHEMA_VERSION,
        at=_moment(facts.workers, now or datetime.now(UTC)),
        study=facts.plan.name,
        description=facts.plan.description,
        kind="grid" if facts.plan.is_grid else "search",
        state=state,
        proxy_budget=facts.plan.proxy.budget,
        confirm_budget=facts.plan.confirm.budget,
        elapsed_seconds=worked_seconds(facts.workers),
        eta_seconds=ahead.eta_seconds,
        proxies=_counts(facts.proxies, ahead.proxies, False),
        confirmations=_counts(facts.runs, ahead.confirmations, not facts.race_over),
        workers=[_worker(facts, e) for e in facts.workers if e.state != "ended"],
        best_proxy=_best_proxy(facts.finished),
        baseline_proxy=_best_proxy([t for t in facts.finished if attributes_of(t).baseline is not None]),
        best_confirmed=_confirmed(facts.confirmed, facts.noise),
        baseline_confirmed=_confirmed([c for c in facts.confirmed if c.baseline], facts.noise),
        searched_confirmed=_confirmed([c for c in facts.confirmed if not c.baseline], facts.noise),
        correlation=_correlation(facts),
        transfer=_transfer(facts),
        pruning_saved_seconds=saved_seconds(facts.proxies, facts.plan.proxy),
        race=facts.race_line,
        race_over=facts.race_over,
        cost=_cost(facts, ahead),
        warnings=_warnings(facts, state),
    )


def _state(facts: Snapshot, ahead: Forecast) -> str:
    if facts.race_over and ahead.proxies + ahead.confirmations == 0 and not _running(facts):
        return "finished"
    if not facts.workers and not any(t.state.is_finished() for t in facts.proxies):
        return "waiting"
    return "running" if any(e.alive for e in facts.workers) else "stopped"


def _moment(workers: Sequence[RegisteredWorker], now: datetime) -> str:
    at = datetime.fromtimestamp(workers[0].now, UTC) if workers else now
    return at.isoformat(timespec="seconds")


def worked_seconds(workers: Sequence[RegisteredWorker]) -> float:
    """Return how long at least one worker was there: the length of the union of their times."""
    total, until = 0.0, float("-inf")
    for begin, end in sorted((e.started, e.started + e.paid_seconds) for e in workers):
        total += max(0.0, end - max(begin, until))
        until = max(until, end)
    return total


def _counts(trials: Sequence[FrozenTrial], to_come: int, estimated: bool) -> Counts:
    lost = replaced_trials(trials)
    by_state = Counter(t.state for t in trials if t.number not in lost)
    ended = sum(by_state[s] for s in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return Counts(
        asked=ended + by_state[TrialState.RUNNING] + to_come,
        estimated=estimated,
        complete=by_state[TrialState.COMPLETE],
        pruned=by_state[TrialState.PRUNED],
        failed=by_state[TrialState.FAIL],
        lost=len(lost),
        running=by_state[TrialState.RUNNING],
        to_come=to_come,
    )


def _running(facts: Snapshot) -> Mapping[str, tuple[bool, FrozenTrial]]:
    """Return by worker what it trains, and whether that is a proxy."""
    kinds = ((True, facts.proxies), (False, facts.runs))
    running = [(proxy, t) for proxy, trials in kinds for t in trials if t.state == TrialState.RUNNING]
    return {attributes_of(t).worker or "": (proxy, t) for proxy, t in running}


def _worker(facts: Snapshot, entry: RegisteredWorker) -> WorkerNow:
    trained = [t for t in [*facts.proxies, *facts.runs] if attributes_of(t).worker == entry.name]
    ended = [t for t in trained if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    last = max(ended, key=lambda t: (t.datetime_complete is not None, t.datetime_complete), default=None)
    proxy, run = _running(facts).get(entry.name, (True, None))
    return WorkerNow(
        name=entry.name,
        launch=entry.launch,
        device=entry.device,
        state=entry.state,
        run=run_label(proxy, run.number) if run else "",
        percent=(run.last_step or 0) if run else 0,
        tokens_per_second=attributes_of(last).tokens_per_second if last else None,
        trials=len(ended),
        usd_per_hour=entry.usd_per_hour,
        usd=entry.usd,
        silent_seconds=entry.silent_seconds,
    )


def _best_proxy(finished: Sequence[FrozenTrial]) -> Found | None:
    best = min(finished, key=lambda t: (t.value, t.number), default=None)
    if best is None or best.value is None:
        return None
    name = attributes_of(best).baseline
    label = f"baseline {name}" if name else run_label(True, best.number)
    return Found(label=label, bpb=best.value, half_width=None, seeds=1, parameters=dict(best.params))


def _confirmed(found: Sequence[Confirmed], noise: Noise) -> Found | None:
    if not found:
        return None
    best, seeds = found[0], found[0].seeds
    half = noise.half_width(seeds)
    return Found(label=best.label, bpb=best.mean_bpb, half_width=half, seeds=seeds, parameters=dict(best.params))


def _correlation(facts: Snapshot) -> Correlation:
    needed = facts.pruner.needed
    steps = [
        Foretold(
            percent=r.step,
            rho=r.correlation,
            bound=r.bound,
            proof=r.proof,
            n=r.n,
            open=not facts.plan.is_grid and is_open(r, needed),
        )
        for r in facts.relations
    ]
    opened = None if facts.plan.is_grid else open_from(facts.relations, needed)
    return Correlation(steps=steps, finished=len(facts.finished), needed=needed, open_from=opened)


def _transfer(facts: Snapshot) -> TransferNow:
    t = facts.transfer
    return TransferNow(pairs=t.pairs, tau=t.tau, low=t.low, high=t.high, proven=t.proven, verdict=t.verdict)


def _cost(facts: Snapshot, ahead: Forecast) -> Cost:
    alive = sum(e.alive for e in facts.workers)
    left = ahead.left_seconds if ahead.eta_seconds is None else ahead.eta_seconds * alive
    return Cost(
        hours=ahead.spent_seconds / 3600,
        hours_projected=(ahead.spent_seconds + left) / 3600,
        usd=facts.bill.spent,
        usd_bound=facts.bill.bound,
        usd_projected=ahead.usd_projected,
        max_usd=facts.bill.cap or None,
        capped=ahead.capped,
    )


def _warnings(facts: Snapshot, state: str) -> list[Warned]:
    found = []
    name = facts.plan.name
    if state == "waiting":
        said = f"no worker has come yet: `start` prepares the text first; {_how_to_go_on(name, 'begins')}."
        found.append(Warned(kind="waiting", sentence=said))
    if state == "stopped":
        found.append(Warned(kind="idle", sentence=f"nobody works on it; {_how_to_go_on(name, 'goes on')}."))
    dead = [e for e in facts.workers if e.state == "dead"]
    if dead:
        silent = span(min(e.silent_seconds for e in dead))
        names = ", ".join(e.name for e in dead[:3]) + (f" and {len(dead) - 3} more" if len(dead) > 3 else "")
        stopped = counted(len(dead), "worker")
        said = f"{stopped} stopped without a word, silent for {silent} or more: {names}."
        found.append(Warned(kind="stopped", sentence=said))
    if refused := refused_by_cap(facts):
        found.append(Warned(kind="cap", sentence=refused))
    return found + [Warned(kind=c.name, sentence=c.sentence) for c in facts.caveats]


def _how_to_go_on(name: str, does: str) -> str:
    start, worker = command("start", study=name), command("worker", study=name)
    return f"`{start}` {does}, `{worker}` on another machine too"
