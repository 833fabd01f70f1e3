"""A study's race as it is now, read from its trials: the candidates with their runs, and the runs that are due."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from optuna.trial import FrozenTrial, TrialState

from search.strategy.entrants import Entrant, entrant_of, proxies_to_add, proxies_to_confirm
from search.strategy.race import SPENT, Candidate, Decision, Rules, next_runs, standing, survivors
from search.study.cost import affordable_runs
from search.study.results import Transfer, confirmed, transfer
from search.study.study import LinkedStudy, ReadStudy
from search.study.trials import attributes_of, final_budget


class PlannedRun(NamedTuple):
    """A confirmation run that is to be queued."""

    entrant: Entrant
    seed: int
    budget: str
    why: str


class DueRuns(NamedTuple):
    """The runs that a race should start now."""

    rung_runs: list[PlannedRun]
    """Runs at the shorter budgets of the rungs."""
    entrants: dict[str, Entrant]
    """Every configuration that may get runs at the full budget, by key."""
    decision: Decision
    """The runs to start at the full budget, and the state of the race."""


@dataclass(frozen=True)
class Race:
    """A study's race at one moment: its candidates, their runs, and the runs that are due; each is computed once."""

    study: ReadStudy
    transfer: Transfer
    affordable: int | None
    """Further long runs that hours and dollars allow; None if neither is limited."""

    @cached_property
    def field(self) -> list[Candidate]:
        """All candidates with their runs, those included that were dropped on a rung."""
        dropped = self._rungs.dropped
        field = [_candidate(self.study, e, self.study.confirm_trials()) for e in self._entrants[0]]
        return [replace(c, out=f"dropped on the rung of {dropped[c.key]}") if c.key in dropped else c for c in field]

    @cached_property
    def standing(self) -> list[tuple[Candidate, str]]:
        """The candidates, the best first, each with the reason why it gets runs or gets none."""
        return standing(self.field)

    @cached_property
    def due_runs(self) -> DueRuns:
        """The runs to start now, on the rungs and at the full budget."""
        confirm, rungs, reserve = self.study.plan.confirm, self._rungs, self._entrants[1]
        rules = Rules(confirm.seeds, confirm.max_seeds, self.affordable)
        racing = [_candidate(self.study, e, self.study.confirm_trials()) for e in rungs.passed]
        waiting = [Candidate(e.key, e.kind) for e in reserve]
        paid = rungs.due[: rules.affordable]
        if rungs.due and not paid and not rungs.under_way:
            return DueRuns([], {}, Decision((), SPENT, over=True))
        if rules.affordable is not None:
            rules = replace(rules, affordable=rules.affordable - len(paid))
        decision = next_runs(racing, waiting, self.transfer, rules, len(rungs.due) + rungs.under_way)
        return DueRuns(paid, {e.key: e for e in [*rungs.passed, *reserve]}, decision)

    @cached_property
    def _entrants(self) -> tuple[list[Entrant], list[Entrant]]:
        return _entrants(self.study, self.study.confirm_trials())

    @cached_property
    def _rungs(self) -> "_RungState":
        return _rung_state(self.study, self._entrants[0], self.study.confirm_trials())


def current_race(study: LinkedStudy) -> Race:
    """Return a study's race as it is now."""
    read = study.at_one_moment()
    affordable = affordable_runs(read, read.plan.confirm, read.confirm_trials())
    return Race(read, transfer(confirmed(read)), affordable)


def due_runs(study: LinkedStudy) -> DueRuns:
    """Return the runs that the race should start, as it is now."""
    return current_race(study).due_runs


def _entrants(study: LinkedStudy, runs: Sequence[FrozenTrial]) -> tuple[list[Entrant], list[Entrant]]:
    """Return the configurations in the race, and those that may still enter it."""
    plan, proxies = study.plan, study.proxy_trials()
    entrants = {e.key: e for e in (Entrant("baseline", n, params=p) for n, p in plan.baselines.items())}
    for run in runs:
        entrant = entrant_of(run)
        entrants.setdefault(entrant.key, entrant)
    early = [e.number for e in entrants.values() if e.kind == "top" and plan.confirm.after]
    others = [t for t in proxies if t.number not in early]
    most = 0 if plan.confirm.after else plan.confirm.top
    best = proxies_to_confirm(others, top=most, drawn=plan.confirm.random, seed=plan.proxy.seed)
    for place, trial in enumerate(best):
        top = place < most
        for scale in plan.confirm.lr_scales if top else (1.0,):
            entrant = Entrant("top" if top else "random", None, trial.number, scale, trial.params)
            entrants.setdefault(entrant.key, entrant)
    chosen = [e.number for e in entrants.values() if e.number is not None]
    left = plan.confirm.widen - sum(e.kind == "wider" for e in entrants.values())
    more = proxies_to_add(proxies, chosen, count=max(0, left) if best or early else 0, seed=plan.proxy.seed)
    return list(entrants.values()), [Entrant("wider", None, t.number, params=t.params) for t in more]


@dataclass(frozen=True)
class _RungState:
    """Progress on the rungs, the budgets below the final one."""

    due: list[PlannedRun]
    """Runs that are not queued yet."""
    under_way: int
    """Runs that are queued or running."""
    passed: list[Entrant]
    """The configurations that race at the final budget."""
    dropped: Mapping[str, str]
    """The rung on which a candidate was dropped, by the candidate's key."""


def _rung_state(study: LinkedStudy, present: Sequence[Entrant], runs: Sequence[FrozenTrial]) -> _RungState:
    """Return how far the best proxies have come on the rungs.

    All other configurations, baselines and those that are in the race for the comparison, start at the final budget.
    """
    climbers = [e for e in present if e.kind == "top"]
    others = [e for e in present if e.kind != "top"]
    dropped: dict[str, str] = {}
    for rung in study.plan.confirm.rungs:
        counted = [r for r in runs if attributes_of(r).budget == rung and not _superseded(study, r)]
        run_of = {entrant_of(r).key: r for r in counted}
        seed = study.plan.confirm.first_seed
        due = [PlannedRun(e, seed, rung, f"on the rung of {rung}") for e in climbers if e.key not in run_of]
        under_way = sum(not r.state.is_finished() for r in counted)
        if due or under_way:
            return _RungState(due, under_way, others, dropped)
        better_half = [climbers[i] for i in survivors([_value(run_of[e.key]) for e in climbers])]
        dropped |= {e.key: rung for e in climbers if e not in better_half}
        climbers = better_half
    return _RungState([], 0, [*climbers, *others], dropped)


def _value(run: FrozenTrial) -> float:
    return float(run.value) if run.state == TrialState.COMPLETE and run.value is not None else math.inf


def _superseded(study: LinkedStudy, run: FrozenTrial) -> bool:
    """Return whether a run was lost and queued again, so that its retry counts in its place."""
    return study.confirm_queue.requeues(run)


def _candidate(study: LinkedStudy, entrant: Entrant, runs: Sequence[FrozenTrial]) -> Candidate:
    own = [
        r
        for r in runs
        if entrant_of(r).key == entrant.key and final_budget(study.plan, r) and not _superseded(study, r)
    ]
    bpb = tuple(float(r.value) for r in own if r.state == TrialState.COMPLETE and r.value is not None)
    out = ""
    for run in own:
        if run.state == TrialState.PRUNED:
            out = f"pruned at {run.last_step}% of a long run"
        elif run.state == TrialState.FAIL:
            out = f"{attributes_of(run).failure or 'failed'} in a long run"
    return Candidate(entrant.key, entrant.kind, bpb, sum(not r.state.is_finished() for r in own), out)


def race_field(study: LinkedStudy) -> list[Candidate]:
    """Return all candidates with their runs, those included that were dropped on a rung."""
    return current_race(study).field


def race_line(study: LinkedStudy) -> str:
    """Return the state of the race in a sentence; empty before it began."""
    state = study.confirm_attributes().get("race")
    return f"Race: {state}." if state else ""
