"""What the same money would have found otherwise: a study's trials drawn anew under other pruners, at its own cost.

How a pruned trial would have ended isn't known. In a replay that lets it run it goes on as the finished trial that was
nearest to it where it was stopped, at the distance that they had there.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.replay.curves import CurveSet, RecordedRun, curve_set
from search.replay.one_study import StudyLimit
from search.replay.study_curves import own_steps

ALIKE = "trials are drawn from those of the study, with replacement, as if its sampler drew without learning"
LONG = "what long runs alone would have found for it isn't known: those that the study has were chosen by their proxies"


def same_money(study: optuna.Study) -> tuple[CurveSet, StudyLimit] | None:
    """Return a study's trials, the pruned ones continued, and the limit at which it ended: what it cost itself.

    None if its finished trials have no report points in common. Failed trials count neither as runs nor as cost.
    """
    trials = [t for t in study.get_trials(deepcopy=False) if t.intermediate_values]
    finished = [t for t in trials if t.state == TrialState.COMPLETE]
    pruned = [t for t in trials if t.state == TrialState.PRUNED]
    steps = own_steps(finished) if finished else None
    if steps is None or len(steps) < 2 or steps[0] <= 0:
        return None
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    whole = [_curve(t, sign) for t in finished]
    continued = [_continued(_curve(t, sign), whole, steps) for t in pruned]
    spent = len(finished) + sum(max(t.intermediate_values) / steps[-1] for t in pruned)
    best = sign * min(curve[math.inf] for curve in whole)
    unit = math.gcd(*steps)
    curves = curve_set(
        f"{study.study_name}, the same money",
        [_run(curve, steps) for curve in (*whole, *continued)],
        steps=[step // unit for step in steps],
        notes=_notes(spent, len(whole), len(pruned), best, "plan" in study.user_attrs),
    )
    return curves, StudyLimit(budget=spent, resampled=True)


Curve = Mapping[float, float]
"""Losses by step, lower being better; the final one at step infinity."""


def _curve(trial: FrozenTrial, sign: float) -> Curve:
    reports: dict[float, float] = {step: sign * loss for step, loss in sorted(trial.intermediate_values.items())}
    if trial.state != TrialState.COMPLETE or trial.value is None:  # Optuna gives a pruned one its last loss as value
        return reports
    return reports | {math.inf: sign * trial.value}


def _continued(curve: Curve, whole: Sequence[Curve], steps: Sequence[int]) -> Curve:
    """Return a pruned trial's curve with the rest of the finished one's that is nearest at its last report."""
    last = max(step for step in curve if step in steps)
    own = curve[last]
    if not math.isfinite(own):
        return {**curve, math.inf: math.inf}
    nearest = min(whole, key=lambda other: _distance(other[last], own))
    return {**curve, **{step: loss + own - nearest[last] for step, loss in nearest.items() if step > last}}


def _distance(one: float, other: float) -> float:
    return abs(one - other) if math.isfinite(one) else math.inf


def _run(curve: Curve, steps: Sequence[int]) -> RecordedRun:
    there = [step for step in steps if step in curve]
    progress, loss = np.array(there) / steps[-1], np.array([curve[step] for step in there])
    return RecordedRun(progress=progress, loss=loss, final=curve[math.inf])


def _notes(spent: float, whole: int, pruned: int, best: float, long_runs: bool) -> list[str]:
    cost = f"the study spent {spent:.1f} whole runs on {whole + pruned} trials"
    notes = [f"{cost}, the best of which ended at {best:.4f}", ALIKE]
    if pruned:
        notes.append(
            f"how {pruned} pruned trials would have ended isn't known: each goes on as the finished one nearest to it"
        )
    return [*notes, LONG] if long_runs else notes
