"""Promotion: the race's runs as trials of the confirmation study; who takes part, what is due, and what it costs."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from search.common.errors import SearchError
from search.strategy.race import SPENT, Candidate, Rules, Turn, standing, survivors, turn
from search.study.cost import affordable_runs
from search.study.results import Transfer, confirmed, transfer
from search.study.space import identity
from search.study.study import LinkedStudy, ReadStudy
from search.study.trials import (
    BASELINE,
    BUDGET,
    BY_HAND,
    CONFIRMS,
    KIND,
    LR_SCALE,
    SEED,
    WHY,
    attributes_of,
    final_budget,
    finished,
    given_to,
    label,
    who,
)


@dataclass(frozen=True)
class Entry:
    """A configuration that is, or may be, in the race: what its runs' attributes say of it."""

    kind: str
    baseline: str | None = None
    number: int | None = None
    lr_scale: float = 1.0
    params: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> str:
        """What people call it."""
        return label(self.baseline, self.number, self.lr_scale)

    def attrs(self, seed: int, budget: str) -> dict[str, Any]:
        """Return the attributes that tell one of its runs from all others."""
        who = {BASELINE: self.baseline} if self.baseline else {CONFIRMS: self.number}
        return {**who, SEED: seed, BUDGET: budget, LR_SCALE: self.lr_scale}


Run = tuple[Entry, int, str, str]
"""Of an entry: the seed, the budget, and why."""


def candidates(proxies: Sequence[FrozenTrial], *, top: int, drawn: int, seed: int) -> list[FrozenTrial]:
    """Return the proxies to confirm: the best `top` that differ in configuration, and `drawn` others at random.

    Baselines are confirmed in any case and take no place here; nor does a proxy that equals one. The random
    ones are there so that proxy and confirmation are not compared on winners alone.
    """
    distinct = _distinct(proxies)
    best, rest = distinct[:top], distinct[top:]
    return best + random.Random(seed).sample(rest, min(drawn, len(rest)))


def further(proxies: Sequence[FrozenTrial], chosen: Sequence[int], *, count: int, seed: int) -> list[FrozenTrial]:
    """Return who enters when the race widens: of those not chosen the next best and one at random, in turn."""
    rest = [t for t in _distinct(proxies) if t.number not in chosen]
    draw = random.Random(seed)
    found: list[FrozenTrial] = []
    while rest and len(found) < count:
        found.append(rest.pop(0 if len(found) % 2 == 0 else draw.randrange(len(rest))))
    return found


def _distinct(proxies: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return one finished proxy for each configuration, the best first.

    One that was run several times counts by its mean, so that no lucky seed decides.
    """
    ended = finished(list(proxies))
    values: dict[frozenset[Any], list[float]] = {}
    for trial in ended:
        values.setdefault(identity(trial.params), []).append(trial.value or 0.0)
    seen = {identity(t.params) for t in proxies if attributes_of(t).baseline is not None}
    found = []
    for trial in sorted(ended, key=lambda t: (np.mean(values[identity(t.params)]), t.number)):
        if identity(trial.params) not in seen:
            seen.add(identity(trial.params))
            found.append(trial)
    return found


def promote(study: LinkedStudy) -> int:
    """Queue the confirmation runs that are due; returns how many are new. Repeating it adds nothing.

    Due once every proxy trial has finished.
    """
    plan = study.plan
    with study.database.lock(f"lilm-search/promote/{plan.name}"):
        if any(not t.state.is_finished() for t in study.proxy_trials()):
            return 0
        if study.proxy_queue.slots() < plan.proxy.trials:
            return 0
        climbing, due, now = next_turn(study)
        added = sum(_enqueue(study, *run) for run in climbing)
        for start in now.start:
            seed = plan.confirm.first_seed + start.index
            added += _enqueue(study, due[start.key], seed, plan.confirm.budget, start.why)
        if study.confirmations.user_attrs.get("race") != now.state:
            study.confirmations.set_user_attr("race", now.state)
        return added


def promote_by_hand(study: LinkedStudy, number: int, seeds: int) -> int:
    """Queue confirmation runs of a proxy that a person chose; returns how many are new.

    Raises `SearchError` where there is no such trial, or it never got its parameters.
    """
    proxies = {t.number: t for t in study.proxy_trials()}
    trial = proxies.get(number)
    params = given_to(trial) if trial else {}
    if trial is None or not params:
        known = f"0 to {max(proxies)}" if proxies else "none yet"
        raise SearchError(f'--trial is {number}, but must be a proxy trial of "{study.plan.name}" ({known})')
    name = attributes_of(trial).baseline
    entry = Entry("baseline" if name else "hand", name, None if name else number, params=params)
    first, budget = study.plan.confirm.first_seed, study.plan.confirm.budget
    said = "promoted by hand"
    return sum(_enqueue(study, entry, first + i, budget, f"run {i + 1}: {said}", by_hand=True) for i in range(seeds))


def waits_by_hand(study: LinkedStudy) -> bool:
    """Return whether a run that a person asked for waits for a worker."""
    waiting = [r for r in study.confirm_trials() if r.state == TrialState.WAITING]
    return any(attributes_of(r).by_hand for r in waiting)


def _enqueue(study: LinkedStudy, entry: Entry, seed: int, budget: str, why: str, *, by_hand: bool = False) -> bool:
    told = {WHY: why, KIND: entry.kind} | ({BY_HAND: True} if by_hand else {})
    return study.confirm_queue.enqueue(dict(entry.params), entry.attrs(seed, budget), told)


@dataclass(frozen=True)
class Race:
    """A study's race at one moment: who takes part, with which runs, and what is due; each is found once."""

    study: ReadStudy
    transfer: Transfer
    affordable: int | None
    """Further long runs that hours and dollars allow; None where neither is limited."""

    @cached_property
    def field(self) -> list[Candidate]:
        """Everybody in the race with their runs, those included that a rung left behind."""
        left = self._climb.left
        field = [_candidate(self.study, e, self.study.confirm_trials()) for e in self._entries[0]]
        return [replace(c, out=f"left behind on the rung of {left[c.key]}") if c.key in left else c for c in field]

    @cached_property
    def standing(self) -> list[tuple[Candidate, str]]:
        """The candidates, the best first, each with why it gets runs or gets none."""
        return standing(self.field)

    @cached_property
    def next_turn(self) -> tuple[list[Run], dict[str, Entry], Turn]:
        """The runs due on the rungs, everybody in the race by key, and the turn."""
        confirm, climb, reserve = self.study.plan.confirm, self._climb, self._entries[1]
        rules = Rules(confirm.seeds, confirm.max_seeds, self.affordable)
        racing = [_candidate(self.study, e, self.study.confirm_trials()) for e in climb.passed]
        waiting = [Candidate(e.key, e.kind) for e in reserve]
        paid = climb.due[: rules.affordable]
        if climb.due and not paid and not climb.under_way:
            return [], {}, Turn((), SPENT, over=True)
        if rules.affordable is not None:
            rules = replace(rules, affordable=rules.affordable - len(paid))
        now = turn(racing, waiting, self.transfer, rules, len(climb.due) + climb.under_way)
        return paid, {e.key: e for e in [*climb.passed, *reserve]}, now

    @cached_property
    def _entries(self) -> tuple[list[Entry], list[Entry]]:
        return _entries(self.study, self.study.confirm_trials())

    @cached_property
    def _climb(self) -> "_Climb":
        return _climb(self.study, self._entries[0], self.study.confirm_trials())


def race_of(study: LinkedStudy) -> Race:
    """Return a study's race as it is now."""
    read = study.at_one_moment()
    return Race(read, transfer(confirmed(read)), affordable_runs(read))


def next_turn(study: LinkedStudy) -> tuple[list[Run], dict[str, Entry], Turn]:
    """Return the runs due on the rungs, everybody in the race by key, and the turn, as it is now."""
    return race_of(study).next_turn


def _entries(study: LinkedStudy, runs: Sequence[FrozenTrial]) -> tuple[list[Entry], list[Entry]]:
    """Return who is in the race, and who may still enter it."""
    plan, proxies = study.plan, study.proxy_trials()
    found = {e.key: e for e in (Entry("baseline", n, params=p) for n, p in plan.baselines.items())}
    for run in runs:
        entry = entry_of(run)
        found.setdefault(entry.key, entry)
    best = candidates(proxies, top=plan.confirm.top, drawn=plan.confirm.random, seed=plan.proxy.seed)
    for place, trial in enumerate(best):
        top = place < plan.confirm.top
        for scale in plan.confirm.lr_scales if top else (1.0,):
            entry = Entry("top" if top else "random", None, trial.number, scale, trial.params)
            found.setdefault(entry.key, entry)
    chosen = [e.number for e in found.values() if e.number is not None]
    left = plan.confirm.widen - sum(e.kind == "wider" for e in found.values())
    more = further(proxies, chosen, count=max(0, left) if best else 0, seed=plan.proxy.seed)
    return list(found.values()), [Entry("wider", None, t.number, params=t.params) for t in more]


def entry_of(run: FrozenTrial) -> Entry:
    """Return the entry that a confirmation run belongs to."""
    baseline, number, scale = who(run)
    kind = attributes_of(run).kind or ("baseline" if baseline else "top")
    return Entry(kind, baseline, number, scale, given_to(run))


@dataclass(frozen=True)
class _Climb:
    """Where the rungs are: runs due on them, how many are under way, and who races at the final budget."""

    due: list[Run]
    under_way: int
    passed: list[Entry]
    left: Mapping[str, str]
    """By key, the rung on which a candidate was left behind."""


def _climb(study: LinkedStudy, present: Sequence[Entry], runs: Sequence[FrozenTrial]) -> _Climb:
    """Return how far the rungs below the final budget are climbed.

    Only the best proxies climb: baselines and those that are there for the comparison go to the final budget at once.
    """
    climbers = [e for e in present if e.kind == "top"]
    others = [e for e in present if e.kind != "top"]
    left: dict[str, str] = {}
    for rung in study.plan.confirm.rungs:
        counted = [r for r in runs if attributes_of(r).budget == rung and _counts(study, r)]
        there = {entry_of(r).key: r for r in counted}
        seed = study.plan.confirm.first_seed
        due = [(e, seed, rung, f"on the rung of {rung}") for e in climbers if e.key not in there]
        under_way = sum(not r.state.is_finished() for r in counted)
        if due or under_way:
            return _Climb(due, under_way, others, left)
        above = [climbers[i] for i in survivors([_value(there[e.key]) for e in climbers])]
        left |= {e.key: rung for e in climbers if e not in above}
        climbers = above
    return _Climb([], 0, [*climbers, *others], left)


def _value(run: FrozenTrial) -> float:
    return float(run.value) if run.state == TrialState.COMPLETE and run.value is not None else math.inf


def _counts(study: LinkedStudy, run: FrozenTrial) -> bool:
    """Return whether a run stands for itself: a lost one stands for its retry."""
    return not study.confirm_queue.requeues(run)


def _candidate(study: LinkedStudy, entry: Entry, runs: Sequence[FrozenTrial]) -> Candidate:
    mine = [r for r in runs if entry_of(r).key == entry.key and final_budget(study.plan, r) and _counts(study, r)]
    bpb = tuple(float(r.value) for r in mine if r.state == TrialState.COMPLETE and r.value is not None)
    out = ""
    for run in mine:
        if run.state == TrialState.PRUNED:
            out = f"pruned at {run.last_step}% of a long run"
        elif run.state == TrialState.FAIL:
            out = f"{attributes_of(run).failure or 'failed'} in a long run"
    return Candidate(entry.key, entry.kind, bpb, sum(not r.state.is_finished() for r in mine), out)


def race_field(study: LinkedStudy) -> list[Candidate]:
    """Return everybody in the race with their runs, those included that a rung left behind."""
    return race_of(study).field


def race_line(study: LinkedStudy) -> str:
    """Return where the race is, in a sentence; empty before it began."""
    state = study.confirm_attributes().get("race")
    return f"Race: {state}." if state else ""
