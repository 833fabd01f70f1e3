"""Promotion: the runs that are due, queued as trials of the confirmation study."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from search.common.errors import SearchError
from search.strategy.candidate_predictions import enough_to_predict, predicted_runs, update_predictions
from search.strategy.current_race import due_runs
from search.strategy.entrants import Entrant, distinct_configurations
from search.strategy.joint import JointModel, can_learn, full_budget_runs
from search.strategy.race import ENTRY_REASONS
from search.study.cost import affordable_runs, proxies_left
from search.study.results import bpb_text
from search.study.study import LinkedStudy
from search.study.trials import (
    BY_HAND,
    KIND,
    PREDICTED,
    PREDICTED_HALF_WIDTH,
    WHY,
    attributes_of,
    trial_params,
)

MIN_CANDIDATES = 2
"""Proxies among which a candidate is chosen before all proxies are over."""


def promote(study: LinkedStudy) -> int:
    """Queue the confirmation runs that are due, and return how many are new. Repeating it adds nothing.

    The race begins once every proxy trial has finished and no further one may begin: their number is reached, or their
    hours or dollars are spent. With `[confirm] after`, first runs of candidates begin before, a few at a time: their
    results then guide both the further proxies and the choice of further candidates. What is predicted of candidates'
    long runs is stored too.
    """
    with study.database.lock(f"lilm-search/promote/{study.plan.name}"):
        added = _queue_due_runs(study)
        update_predictions(study)
        return added


def nothing_left(study: LinkedStudy) -> bool:
    """Return whether every trial has ended and none may begin; runs that are due are queued first."""
    promote(study)
    proxies = study.proxy_trials()
    ended = all(t.state.is_finished() for t in [*proxies, *study.confirm_trials()])
    return ended and not proxies_left(study, proxies)


def _queue_due_runs(study: LinkedStudy) -> int:
    plan = study.plan
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
    """Queue first runs of the candidates from which the model of both budgets expects most, as many as are due.

    Never more than the hours and dollars of [confirm] allow.
    """
    confirm, runs = study.plan.confirm, full_budget_runs(study)
    ended = sum(t.state.is_finished() for t in proxies)
    begun = {attributes_of(r).confirms for r in runs if attributes_of(r).kind == "top"}
    due = early_candidates(confirm.top, confirm.after, ended, len(proxies) + left, over=over) - len(begun)
    affordable = affordable_runs(study, confirm, study.confirm_trials())
    if affordable is not None:
        due = min(due, affordable // len(confirm.lr_scales))
    raced = {attributes_of(r).confirms for r in runs}
    candidates = [t for t in distinct_configurations(proxies) if t.number not in raced]
    if due <= 0 or len(candidates) < (1 if over else MIN_CANDIDATES):
        return 0
    return sum(
        _enqueue(
            study,
            Entrant("top", None, trial.number, scale, trial.params),
            confirm.first_seed,
            confirm.budget,
            why,
            notes=forecast if scale == 1 else {},
        )
        for trial, why, forecast in _most_promising(study, proxies, runs, candidates, due)
        for scale in confirm.lr_scales
    )


def _most_promising(
    study: LinkedStudy,
    proxies: Sequence[FrozenTrial],
    runs: Sequence[FrozenTrial],
    candidates: Sequence[FrozenTrial],
    count: int,
) -> list[tuple[FrozenTrial, str, dict[str, Any]]]:
    """Return so many candidates, each with the reason for its run and the attributes that state its forecast.

    With too little to learn from, or no choice, they are the best proxies, without a forecast.
    """
    if len(candidates) <= count or not can_learn(proxies):
        return [(trial, f"first run: {ENTRY_REASONS['top']}", {}) for trial in candidates[:count]]
    model = JointModel(study.plan.space, proxies, runs)
    chosen = [candidates[i] for i in model.choose([t.params for t in candidates], count)]
    if not enough_to_predict(proxies, runs):
        return [(trial, "first run: chosen by what a long run may gain", {}) for trial in chosen]
    promising = []
    predicted = predicted_runs(study.plan.space, proxies, runs, [t.params for t in chosen])
    for trial, prediction in zip(chosen, predicted, strict=True):
        text = bpb_text(prediction.bpb, prediction.half_width)
        why = f"first run: {text} BPB predicted (90%), chosen by what a long run may gain"
        promising.append((trial, why, {PREDICTED: prediction.bpb, PREDICTED_HALF_WIDTH: prediction.half_width}))
    return promising


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
    notes: Mapping[str, Any] | None = None,
) -> bool:
    by_hand_note = {BY_HAND: True} if by_hand else {}
    attributes = {WHY: why, KIND: entrant.kind, **by_hand_note, **(notes or {})}
    return study.confirm_queue.enqueue(dict(entrant.params), entrant.attrs(seed, budget), attributes)
