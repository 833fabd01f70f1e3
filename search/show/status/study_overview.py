"""A study's overview, made from its snapshot."""

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
    BestResult,
    Correlation,
    Cost,
    Overview,
    ReportCorrelation,
    RunPrediction,
    StatusWarning,
    TransferSummary,
    TrialCounts,
    WorkerStatus,
)
from search.show.wording import counted, rough_duration
from search.study.results import Confirmed
from search.study.trials import attributes_of, run_label, trial_params
from storage.registry.workers import RegisteredWorker

URGENT = ("waiting", "idle", "stopped", "cap")
"""Kinds of warnings that ask the user to act; the others are caveats."""


def study_overview(snapshot: Snapshot, now: datetime | None = None) -> Overview:
    """Return a study's overview; `now` is its time if no worker has registered, which gives the server's time."""
    prediction = forecast(snapshot)
    state = _state(snapshot, prediction)
    return Overview(
        schema_version=SCHEMA_VERSION,
        at=_server_time(snapshot.workers, now or datetime.now(UTC)),
        study=snapshot.plan.name,
        description=snapshot.plan.description,
        kind="grid" if snapshot.plan.is_grid else "search",
        state=state,
        proxy_budget=snapshot.plan.proxy.budget,
        confirm_budget=snapshot.plan.confirm.budget,
        elapsed_seconds=worked_seconds(snapshot.workers),
        eta_seconds=prediction.eta_seconds,
        proxies=_trial_counts(
            snapshot.proxies, prediction.proxies, snapshot.plan.proxy.limited and not snapshot.proxies_over
        ),
        confirmations=_trial_counts(snapshot.runs, prediction.confirmations, not snapshot.race_over),
        workers=[_worker_status(snapshot, e) for e in snapshot.workers if e.state != "ended"],
        best_proxy=_best_proxy(snapshot.finished),
        baseline_proxy=_best_proxy([t for t in snapshot.finished if attributes_of(t).baseline is not None]),
        best_confirmed=_best_confirmed(snapshot, snapshot.confirmed),
        baseline_confirmed=_best_confirmed(snapshot, [c for c in snapshot.confirmed if c.baseline]),
        searched_confirmed=_best_confirmed(snapshot, [c for c in snapshot.confirmed if not c.baseline]),
        correlation=_correlation(snapshot),
        transfer=_transfer_summary(snapshot),
        predictions=_predictions(snapshot),
        pruning_saved_seconds=saved_seconds(snapshot.proxies, snapshot.plan.proxy),
        race=snapshot.race_line,
        race_over=snapshot.race_over,
        cost=_cost(snapshot, prediction),
        warnings=_warnings(snapshot, state),
    )


def _state(snapshot: Snapshot, prediction: Forecast) -> str:
    if snapshot.race_over and prediction.proxies + prediction.confirmations == 0 and not _running_trials(snapshot):
        return "finished"
    if not snapshot.workers and not any(t.state.is_finished() for t in snapshot.proxies):
        return "waiting"
    return "running" if any(e.alive for e in snapshot.workers) else "stopped"


def _server_time(workers: Sequence[RegisteredWorker], now: datetime) -> str:
    at = datetime.fromtimestamp(workers[0].now, UTC) if workers else now
    return at.isoformat(timespec="seconds")


def worked_seconds(workers: Sequence[RegisteredWorker]) -> float:
    """Return the seconds during which at least one worker was registered: the length of the union of their times."""
    total, covered_until = 0.0, float("-inf")
    for begin, end in sorted((e.started, e.started + e.paid_seconds) for e in workers):
        total += max(0.0, end - max(begin, covered_until))
        covered_until = max(covered_until, end)
    return total


def _trial_counts(trials: Sequence[FrozenTrial], to_come: int, estimated: bool) -> TrialCounts:
    replaced = replaced_trials(trials)
    by_state = Counter(t.state for t in trials if t.number not in replaced)
    ended = sum(by_state[s] for s in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL))
    return TrialCounts(
        asked=ended + by_state[TrialState.RUNNING] + to_come,
        estimated=estimated,
        complete=by_state[TrialState.COMPLETE],
        pruned=by_state[TrialState.PRUNED],
        failed=by_state[TrialState.FAIL],
        lost=len(replaced),
        running=by_state[TrialState.RUNNING],
        to_come=to_come,
    )


def _running_trials(snapshot: Snapshot) -> Mapping[str, tuple[bool, FrozenTrial]]:
    """Return the running trials by their workers, each with whether it is a proxy."""
    kinds = ((True, snapshot.proxies), (False, snapshot.runs))
    running = [(proxy, t) for proxy, trials in kinds for t in trials if t.state == TrialState.RUNNING]
    return {attributes_of(t).worker or "": (proxy, t) for proxy, t in running}


def _worker_status(snapshot: Snapshot, entry: RegisteredWorker) -> WorkerStatus:
    trained = [t for t in [*snapshot.proxies, *snapshot.runs] if attributes_of(t).worker == entry.name]
    ended = [t for t in trained if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    last = max(ended, key=lambda t: (t.datetime_complete is not None, t.datetime_complete), default=None)
    proxy, run = _running_trials(snapshot).get(entry.name, (True, None))
    return WorkerStatus(
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


def _best_proxy(proxies: Sequence[FrozenTrial]) -> BestResult | None:
    best = min(proxies, key=lambda t: (t.value, t.number), default=None)
    if best is None or best.value is None:
        return None
    name = attributes_of(best).baseline
    label = f"baseline {name}" if name else run_label(True, best.number)
    return BestResult(
        label=label, bpb=best.value, half_width=None, mean_bpb=best.value, seeds=1, parameters=trial_params(best)
    )


def _best_confirmed(snapshot: Snapshot, configurations: Sequence[Confirmed]) -> BestResult | None:
    if not configurations:
        return None
    best = configurations[0]
    estimate = snapshot.estimates[best.key]
    return BestResult(
        label=best.label,
        bpb=estimate.bpb,
        half_width=estimate.half_width,
        mean_bpb=best.mean_bpb,
        seeds=best.seeds,
        parameters=dict(best.params),
    )


def _correlation(snapshot: Snapshot) -> Correlation:
    needed = snapshot.pruner.needed
    steps = [
        ReportCorrelation(
            percent=r.step,
            rho=r.correlation,
            bound=r.bound,
            proof=r.proof,
            n=r.n,
            open=not snapshot.plan.is_grid and is_open(r, needed),
        )
        for r in snapshot.relations
    ]
    open_from_percent = None if snapshot.plan.is_grid else open_from(snapshot.relations, needed)
    return Correlation(steps=steps, finished=len(snapshot.finished), needed=needed, open_from=open_from_percent)


def _transfer_summary(snapshot: Snapshot) -> TransferSummary:
    transfer = snapshot.transfer
    return TransferSummary(
        pairs=transfer.pairs,
        tau=transfer.tau,
        low=transfer.low,
        high=transfer.high,
        proven=transfer.proven,
        verdict=transfer.verdict,
    )


def _predictions(snapshot: Snapshot) -> list[RunPrediction]:
    return [
        RunPrediction(
            label=p.candidate,
            bpb=p.prediction.bpb,
            half_width=p.prediction.half_width,
            long_runs=p.prediction.long_runs,
            racing=p.racing,
            result=p.bpb,
        )
        for p in snapshot.predicted.values()
    ]


def _cost(snapshot: Snapshot, prediction: Forecast) -> Cost:
    alive = sum(e.alive for e in snapshot.workers)
    remaining_seconds = prediction.left_seconds if prediction.eta_seconds is None else prediction.eta_seconds * alive
    return Cost(
        hours=prediction.spent_seconds / 3600,
        hours_projected=(prediction.spent_seconds + remaining_seconds) / 3600,
        usd=snapshot.bill.spent,
        usd_bound=snapshot.bill.bound,
        usd_projected=prediction.usd_projected,
        max_usd=snapshot.bill.cap or None,
        capped=prediction.capped,
    )


def _warnings(snapshot: Snapshot, state: str) -> list[StatusWarning]:
    warnings = []
    name = snapshot.plan.name
    if state == "waiting":
        sentence = f"no worker has started yet: `start` prepares the text first; {_how_to_continue(name, 'begins')}."
        warnings.append(StatusWarning(kind="waiting", sentence=sentence))
    if state == "stopped":
        warnings.append(
            StatusWarning(kind="idle", sentence=f"no worker is running; {_how_to_continue(name, 'goes on')}.")
        )
    dead = [e for e in snapshot.workers if e.state == "dead"]
    if dead:
        silence = rough_duration(min(e.silent_seconds for e in dead))
        names = ", ".join(e.name for e in dead[:3]) + (f" and {len(dead) - 3} more" if len(dead) > 3 else "")
        stopped_workers = counted(len(dead), "worker")
        sentence = f"{stopped_workers} stopped responding, silent for {silence} or more: {names}."
        warnings.append(StatusWarning(kind="stopped", sentence=sentence))
    if refusal := refused_by_cap(snapshot):
        warnings.append(StatusWarning(kind="cap", sentence=refusal))
    return warnings + [StatusWarning(kind=c.name, sentence=c.sentence) for c in snapshot.caveats]


def _how_to_continue(name: str, does: str) -> str:
    start, worker = command("start", study=name), command("worker", study=name)
    return f"`{start}` {does}, `{worker}` on another machine too"
