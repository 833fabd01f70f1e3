"""What people see of the race: who is where, and why each long run was started or none more will be."""

from typing import Any

from optuna.trial import TrialState
from rich.console import Group
from rich.text import Text

from search.analysis.snapshot import Snapshot
from search.show.columns import Column, Columns
from search.strategy.promotion import entrant_of
from search.study.plan import Plan
from search.study.results import pooled_noise
from search.study.trials import RETRIES, attributes_of, budget_of

COLUMNS = (
    Column(name="candidate"),
    Column(name="entered as", weight=2),
    Column(name="BPB, mean", right=True),
    Column(name="runs", right=True),
    Column(name="now", weight=1, below=True),
)


def race(facts: Snapshot) -> Group:
    """Return the race: candidates with why they run on or don't, the log of decisions, and what is due."""
    noise = pooled_noise([c.bpb for c in facts.race.field])
    rows = []
    for candidate, said in facts.race.standing:
        mean = f"{candidate.mean:.4f}" if candidate.bpb else "–"
        runs = str(len(candidate.bpb)) + (f" + {candidate.pending}" if candidate.pending else "")
        rows.append((candidate.key, candidate.kind, mean, runs, said))
    known = (
        f"{noise.deviation:.4f} BPB" if noise.deviation is not None else "not known yet (no configuration ran twice)"
    )
    return Group(
        Text(f"{facts.plan.name}: the race at {facts.plan.confirm.budget}", style="bold"),
        Columns(COLUMNS, rows),
        Text(f"Noise from seed to seed: {known}."),
        Text(facts.transfer.verdict),
        Text(facts.race_line or f"Race: {due(facts)}"),
        Text("\nDecisions, in order:"),
        *(Text(f"  {line}") for line in decisions(facts)),
    )


def due(facts: Snapshot) -> str:
    """Return what the race waits for before it begins."""
    left = sum(not t.state.is_finished() for t in facts.proxies) + max(0, facts.plan.proxy.trials - facts.slots)
    return f"begins when {left} more proxies have finished." if left else facts.race.due_runs.decision.state


def decisions(facts: Snapshot) -> list[str]:
    """Return why each run was started, and what became of it, in the order of starting."""
    return [_decision(facts.plan, run) for run in facts.runs if RETRIES not in run.user_attrs]


def _decision(plan: Plan, run: Any) -> str:
    attrs = attributes_of(run)
    ends = {
        TrialState.COMPLETE: f"{run.value:.4f} BPB" if run.state == TrialState.COMPLETE else "",
        TrialState.PRUNED: f"pruned at {run.last_step}%",
        TrialState.FAIL: attrs.failure or "failed",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waits for a worker",
    }
    budget = budget_of(run, plan)
    return f"{entrant_of(run).key}, seed {attrs.seed}, {budget}: {attrs.why} → {ends[run.state]}"
