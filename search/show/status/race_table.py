"""The table of the race: its candidates' standing, and why each long run was started or no more will be."""

from collections.abc import Mapping
from typing import Any

from optuna.trial import TrialState
from rich.console import Group
from rich.text import Text

from search.analysis.forecast import proxies_to_come
from search.analysis.snapshot import Snapshot
from search.show.columns import Column, Columns
from search.strategy.entrants import entrant_of
from search.study.plan import Plan
from search.study.results import pooled_noise
from search.study.trials import RETRIES, attributes_of, budget_of

COLUMNS = (
    Column(name="candidate"),
    Column(name="entered as", weight=2),
    Column(name="predicted (90%)", right=True, weight=1),
    Column(name="BPB, mean", right=True),
    Column(name="runs", right=True),
    Column(name="now", weight=1, below=True),
)


def race(snapshot: Snapshot) -> Group:
    """Return the race as text: the candidates with their standing, the noise, and the decisions in order."""
    noise = pooled_noise([c.bpb for c in snapshot.race.field])
    rows = []
    for candidate, reason in snapshot.race.standing:
        mean = f"{candidate.mean:.4f}" if candidate.bpb else "–"
        runs = str(len(candidate.bpb)) + (f" + {candidate.pending}" if candidate.pending else "")
        predicted = snapshot.predicted.get(candidate.key)
        rows.append((candidate.key, candidate.kind, predicted.text if predicted else "–", mean, runs, reason))
    noise_text = (
        f"{noise.deviation:.4f} BPB" if noise.deviation is not None else "not known yet (no configuration ran twice)"
    )
    return Group(
        Text(f"{snapshot.plan.name}: the race at {snapshot.plan.confirm.budget}", style="bold"),
        Columns(COLUMNS, rows),
        Text(f"Noise from seed to seed: {noise_text}."),
        Text(snapshot.transfer.verdict),
        *([Text(snapshot.predictions_line)] if snapshot.predictions_line else []),
        Text(snapshot.race_line or f"Race: {waits_for(snapshot)}"),
        Text("\nDecisions, in order:"),
        *(Text(f"  {line}") for line in decisions(snapshot)),
    )


def waits_for(snapshot: Snapshot) -> str:
    """Return what a race that hasn't begun waits for."""
    left = sum(not t.state.is_finished() for t in snapshot.proxies) + proxies_to_come(snapshot)
    about, confirm = "about " if snapshot.plan.proxy.limited else "", snapshot.plan.confirm
    if left and confirm.after:
        begun = len({attributes_of(r).confirms for r in snapshot.runs if attributes_of(r).kind == "top"})
        rest = f"all once {about}{left} more have; then the race begins."
        return f"{begun} of {confirm.top} candidates have begun early, the others follow as proxies finish, {rest}"
    return f"begins when {about}{left} more proxies have finished." if left else snapshot.race.due_runs.decision.state


def decisions(snapshot: Snapshot) -> list[str]:
    """Return a line for each run, in the order of starting: why it was started, and how it and its retries ended."""
    retries = {attributes_of(run).retries: run for run in snapshot.runs if RETRIES in run.user_attrs}
    return [_decision(snapshot.plan, run, retries) for run in snapshot.runs if RETRIES not in run.user_attrs]


def _decision(plan: Plan, run: Any, retries: Mapping[int | None, Any]) -> str:
    first, ends = attributes_of(run), [_end(run)]
    budget, key = budget_of(run, plan), entrant_of(run).key
    while (run := retries.get(run.number)) is not None:
        ends.append(f"again: {_end(run)}")
    return f"{key}, seed {first.seed}, {budget}: {first.why} → {', '.join(ends)}"


def _end(run: Any) -> str:
    ends = {
        TrialState.COMPLETE: f"{run.value:.4f} BPB" if run.state == TrialState.COMPLETE else "",
        TrialState.PRUNED: f"pruned at {run.last_step}%",
        TrialState.FAIL: attributes_of(run).failure or "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waits for a worker",
    }
    return ends[run.state]
