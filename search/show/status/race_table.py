"""What people see of the race: who is where, and why each long run was started or none more will be."""

from typing import Any

from optuna.trial import TrialState
from rich.console import Group
from rich.text import Text

from search.show.columns import Column, Columns
from search.strategy.promotion import entry_of, next_turn, race_field, race_line
from search.strategy.race import standing
from search.study.results import confirmed, pooled_noise, transfer
from search.study.study import LinkedStudy

COLUMNS = (
    Column(name="candidate"),
    Column(name="entered as", weight=2),
    Column(name="BPB, mean", right=True),
    Column(name="runs", right=True),
    Column(name="now", weight=1, below=True),
)


def race(study: LinkedStudy) -> Group:
    """Return the race: candidates with why they run on or don't, the log of decisions, and what is due."""
    field = race_field(study)
    noise = pooled_noise([c.bpb for c in field])
    rows = []
    for candidate, said in standing(field):
        mean = f"{candidate.mean:.4f}" if candidate.bpb else "–"
        runs = str(len(candidate.bpb)) + (f" + {candidate.pending}" if candidate.pending else "")
        rows.append((candidate.key, candidate.kind, mean, runs, said))
    known = (
        f"{noise.deviation:.4f} BPB" if noise.deviation is not None else "not known yet (no configuration ran twice)"
    )
    return Group(
        Text(f"{study.plan.name}: the race at {study.plan.confirm.budget}", style="bold"),
        Columns(COLUMNS, rows),
        Text(f"Noise from seed to seed: {known}."),
        Text(transfer(confirmed(study)).verdict),
        Text(race_line(study) or f"Race: {due(study)}"),
        Text("\nDecisions, in order:"),
        *(Text(f"  {line}") for line in decisions(study)),
    )


def due(study: LinkedStudy) -> str:
    """Return what the race waits for before it begins."""
    open_ = sum(not t.state.is_finished() for t in study.proxy_trials())
    missing = max(0, study.plan.proxy.trials - study.proxy_queue.slots())
    return (
        f"begins when {open_ + missing} more proxies have finished." if open_ + missing else next_turn(study)[2].state
    )


def decisions(study: LinkedStudy) -> list[str]:
    """Return why each run was started, and what became of it, in the order of starting."""
    return [_decision(study, run) for run in study.confirm_trials() if "retries" not in run.user_attrs]


def _decision(study: LinkedStudy, run: Any) -> str:
    attrs = run.user_attrs
    ends = {
        TrialState.COMPLETE: f"{run.value:.4f} BPB" if run.state == TrialState.COMPLETE else "",
        TrialState.PRUNED: f"pruned at {run.last_step}%",
        TrialState.FAIL: attrs.get("failure", "failed"),
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waits for a worker",
    }
    budget = attrs.get("budget", study.plan.confirm.budget)
    return (
        f"{entry_of(run).key}, seed {attrs.get('seed')}, {budget}: {attrs.get('why', 'first run')} → {ends[run.state]}"
    )
