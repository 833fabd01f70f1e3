"""Promotion: the race's runs as trials of the confirmation study; which configurations race, which runs are due."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.common.errors import SearchError
from search.common.stats import NORMAL
from search.strategy.joint import JointModel, full_budget_runs
from search.strategy.race import SPENT, Candidate, Decision, Rules, next_runs, standing, survivors
from search.study.cost import affordable_runs, proxies_left
from search.study.results import Transfer, bpb_text, confirmed, transfer
from search.study.space import params_key
from search.study.study import LinkedStudy, ReadStudy
from search.study.trials import (
    BASELINE,
    BUDGET,
    BY_HAND,
    CONFIRMS,
    KIND,
    LR_SCALE,
    PREDICTED,
    PREDICTED_HALF_WIDTH,
    SEED,
    WHY,
    attributes_of,
    configuration_key,
    final_budget,
    finished,
    label,
    trial_params,
)

MIN_FINALS, MIN_CANDIDATES = 3, 2
"""Proxies that the model of both budgets needs, and those among which a candidate is chosen before all are over."""


@dataclass(frozen=True)
class Entrant:
    """A configuration that is, or may be, in the race: what its runs' attributes say of it."""

    kind: str
    """How it entered: a key of `search.strategy.race.ENTRY_REASONS`."""
    baseline: str | None = None
    number: int | None = None
    """Number of its proxy trial; None for a baseline."""
    lr_scale: float = 1.0
    """Factor on the proxy's learning rate."""
    params: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> str:
        """Its name for people, which no other configuration of the study has."""
        return label(self.baseline, self.number, self.lr_scale)

    def attrs(self, seed: int, budget: str) -> dict[str, Any]:
        """Return the attributes that tell one of its runs from all others."""
        configuration = {BASELINE: self.baseline} if self.baseline else {CONFIRMS: self.number}
        return {**configuration, SEED: seed, BUDGET: budget, LR_SCALE: self.lr_scale}


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


def proxies_to_confirm(proxies: Sequence[FrozenTrial], *, top: int, drawn: int, seed: int) -> list[FrozenTrial]:
    """Return the proxies to confirm: the best `top` that differ in configuration, and `drawn` others at random.

    Baselines are confirmed in any case and take no place here; nor does a proxy that equals one. The random
    ones are there so that proxy and confirmation are not compared on winners alone.
    """
    distinct = _distinct(proxies)
    best, rest = distinct[:top], distinct[top:]
    return best + random.Random(seed).sample(rest, min(drawn, len(rest)))


def proxies_to_add(
    proxies: Sequence[FrozenTrial], chosen: Sequence[int], *, count: int, seed: int
) -> list[FrozenTrial]:
    """Return the proxies that enter when the race widens: the next best and one at random, alternately.

    `chosen` are the numbers of the proxies that are in the race already.
    """
    rest = [t for t in _distinct(proxies) if t.number not in chosen]
    rng = random.Random(seed)
    added: list[FrozenTrial] = []
    while rest and len(added) < count:
        added.append(rest.pop(0 if len(added) % 2 == 0 else rng.randrange(len(rest))))
    return added


def _distinct(proxies: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return one finished proxy for each configuration, the best first.

    A configuration that was run several times counts by its mean, so that no lucky seed decides.
    """
    ended = finished(list(proxies))
    values: dict[frozenset[Any], list[float]] = {}
    for trial in ended:
        values.setdefault(params_key(trial_params(trial)), []).append(trial.value or 0.0)
    seen = {params_key(trial_params(t)) for t in proxies if attributes_of(t).baseline is not None}
    distinct = []
    for trial in sorted(ended, key=lambda t: (np.mean(values[params_key(trial_params(t))]), t.number)):
        if (key := params_key(trial_params(trial))) not in seen:
            seen.add(key)
            distinct.append(trial)
    return distinct


def promote(study: LinkedStudy) -> int:
    """Queue the confirmation runs that are due, and return how many are new. Repeating it adds nothing.

    The race begins once every proxy trial has finished and no further one may begin: their number is reached, or their
    hours or dollars are spent. With `[confirm] after`, first runs of candidates begin before, a few at a time: their
    results then guide both the further proxies and the choice of further candidates.
    """
    plan = study.plan
    with study.database.lock(f"lilm-search/promote/{plan.name}"):
        proxies = study.proxy_trials()
        left = proxies_left(study, proxies)
        over = all(t.state.is_finished() for t in proxies) and not left
        added = _promote_predicted(study, proxies, left, over=over) if plan.confirm.after else 0
        if not over:
            return added
        due = due_runs(study)
        added += sum(_enqueue(study, *run) for run in due.rung_runs)
        for run in due.decision.start:
            seed = plan.confirm.first_seed + run.index
            added += _enqueue(study, due.entrants[run.key], seed, plan.confirm.budget, run.why)
        if study.confirmations.user_attrs.get("race") != due.decision.state:
            study.confirmations.set_user_attr("race", due.decision.state)
        return added


def _promote_predicted(study: LinkedStudy, proxies: Sequence[FrozenTrial], left: int, *, over: bool) -> int:
    """Queue first runs of the candidates from which the model of both budgets expects most, as many as are due."""
    plan, runs = study.plan, full_budget_runs(study)
    raced = {attributes_of(r).confirms for r in runs}
    chosen = {attributes_of(r).confirms for r in runs if attributes_of(r).kind == "top"}
    ended = sum(t.state.is_finished() for t in proxies)
    due = early_candidates(plan.confirm.top, plan.confirm.after, ended, len(proxies) + left, over=over) - len(chosen)
    candidates = [t for t in _distinct(proxies) if t.number not in raced]
    if due <= 0 or len(candidates) < MIN_CANDIDATES * (not over):
        return 0
    model = JointModel(plan.space, proxies, runs) if len(candidates) > due and len(proxies) >= MIN_FINALS else None
    best = model.choose([t.params for t in candidates], due) if model else range(min(due, len(candidates)))
    forecasts = model.predict([candidates[i].params for i in best]) if model else []
    added = 0
    for place, index in enumerate(best):
        trial, why = candidates[index], "first run: among the best proxies"
        notes: dict[str, Any] = {}
        if model:
            forecast = forecasts[place]
            half = NORMAL.inv_cdf(0.95) * math.hypot(forecast.deviation, model.long_noise)
            why = f"first run: {bpb_text(forecast.mean, half)} BPB predicted (90%), chosen by what a long run may gain"
            notes = {PREDICTED: forecast.mean, PREDICTED_HALF_WIDTH: half}
        for scale in plan.confirm.lr_scales:
            entrant = Entrant("top", None, trial.number, scale, trial.params)
            extra = notes if scale == 1 else {}
            added += _enqueue(study, entrant, plan.confirm.first_seed, plan.confirm.budget, why, extra=extra)
    return added


def early_candidates(top: int, after: int, ended: int, trials: int, *, over: bool) -> int:
    """Return how many of `top` candidates may have begun their long runs once so many proxies have ended.

    One after `after` proxies, all once the proxies are over, and in even steps between.
    """
    if over:
        return top
    if ended < after or not top:
        return 0
    return 1 + math.floor((top - 1) * (ended - after) / max(1, trials - after))


def promote_by_hand(study: LinkedStudy, number: int, seeds: int) -> int:
    """Queue confirmation runs of a proxy that a person chose, and return how many are new.

    Raises `SearchError` if there is no such trial, or it never got its parameters.
    """
    proxies = {t.number: t for t in study.proxy_trials()}
    trial = proxies.get(number)
    params = trial_params(trial) if trial else {}
    if trial is None or not params:
        allowed = f"0 to {max(proxies)}" if proxies else "none yet"
        raise SearchError(f'--trial is {number}, but must be a proxy trial of "{study.plan.name}" ({allowed})')
    name = attributes_of(trial).baseline
    entrant = Entrant("baseline" if name else "hand", name, None if name else number, params=params)
    first, budget = study.plan.confirm.first_seed, study.plan.confirm.budget
    return sum(
        _enqueue(study, entrant, first + i, budget, f"run {i + 1}: promoted by hand", by_hand=True)
        for i in range(seeds)
    )


def manual_run_waits(study: LinkedStudy) -> bool:
    """Return whether a run that a person asked for waits for a worker."""
    waiting = [r for r in study.confirm_trials() if r.state == TrialState.WAITING]
    return any(attributes_of(r).by_hand for r in waiting)


def _enqueue(
    study: LinkedStudy,
    entrant: Entrant,
    seed: int,
    budget: str,
    why: str,
    *,
    by_hand: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> bool:
    notes = {WHY: why, KIND: entrant.kind} | ({BY_HAND: True} if by_hand else {}) | dict(extra or {})
    return study.confirm_queue.enqueue(dict(entrant.params), entrant.attrs(seed, budget), notes)


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


def entrant_of(run: FrozenTrial) -> Entrant:
    """Return the configuration that a confirmation run belongs to."""
    baseline, number, scale = configuration_key(run)
    kind = attributes_of(run).kind or ("baseline" if baseline else "top")
    return Entrant(kind, baseline, number, scale, trial_params(run))


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
