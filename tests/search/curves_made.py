"""Optuna trials made of learning curves, for tests of pruners."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import optuna
from numpy import ndarray
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState, create_trial

STEPS = tuple(range(5, 101, 5))
Curves = tuple[ndarray, ndarray]
"""Losses at each step but the last (runs × 19), and final losses."""


def trial(state: str, reports: Mapping[int, float], value: float | None = None, number: int = 0) -> FrozenTrial:
    """A trial in this state; a finished one's value is its last report unless given."""
    finished = state == "complete"
    made = create_trial(
        state=TrialState[state.upper()],
        value=(value if value is not None else list(reports.values())[-1]) if finished else None,
        intermediate_values=dict(reports),
    )
    made.number = number
    return made


def running(step: int, loss: float, control: Any = False) -> FrozenTrial:
    """A running trial with one report."""
    made = trial("running", {step: loss}, number=10_000)
    made.set_user_attr("control", control)
    return made


def complete(curves: Curves) -> list[FrozenTrial]:
    """Finished trials that reported these curves."""
    ended = [[*map(float, row), float(end)] for row, end in zip(*curves, strict=True)]
    return [trial("complete", dict(zip(STEPS, losses, strict=True)), number=i) for i, losses in enumerate(ended)]


def study_of(trials: Sequence[FrozenTrial], direction: Literal["minimize", "maximize"] = "minimize") -> optuna.Study:
    study = optuna.create_study(study_name="made", direction=direction)
    study.add_trials(trials)
    return study


def pruned_in_turn(curves: Curves, pruner: BasePruner, seed: int, sign: float = 1.0) -> list[FrozenTrial]:
    """Replay these runs one after another, by ask and tell, under a pruner; a sign of −1 maximises."""
    study = optuna.create_study(
        study_name=f"made {seed}",
        pruner=pruner,
        sampler=optuna.samplers.RandomSampler(seed=seed),
        direction="minimize" if sign > 0 else "maximize",
    )
    for row, final in zip(*curves, strict=True):
        one = study.ask()
        for step, loss in zip(STEPS, map(float, row), strict=False):
            one.report(sign * loss, step)
            if one.should_prune():
                study.tell(one, state=TrialState.PRUNED)
                break
        else:
            one.report(sign * float(final), 100)
            study.tell(one, sign * float(final))
    return study.get_trials(deepcopy=False)


def cost(trials: Sequence[FrozenTrial]) -> float:
    """Share of the training that was spent."""
    return float(np.mean([1.0 if t.state == TrialState.COMPLETE else (t.last_step or 0) / 100 for t in trials]))


def pruned(trials: Sequence[FrozenTrial]) -> list[bool]:
    return [t.state == TrialState.PRUNED for t in trials]


def best_is_kept(curves: Curves, trials: Sequence[FrozenTrial]) -> bool:
    return not pruned(trials)[int(np.argmin(curves[1]))]


def predictive(rng: np.random.Generator, n: int = 60) -> Curves:
    """Curves that predict the final loss from the first report on."""
    final, noise = rng.uniform(1, 2, n), 0.01 * rng.standard_normal((n, 19))
    return final[:, None] + 1 - np.array(STEPS[:-1]) / 100 + noise, final


def unrelated(rng: np.random.Generator, n: int = 60) -> Curves:
    """Curves that keep their order, but end in any order: the loss so far predicts nothing."""
    return rng.uniform(1, 2, (n, 1)) + 0.05 * rng.standard_normal((n, 19)), rng.uniform(1, 2, n)


def crossing(rng: np.random.Generator, n: int = 60) -> Curves:
    """Runs that are ahead early end behind: they change ranks in the middle."""
    final, late = rng.standard_normal(n), np.clip(np.array(STEPS[:-1]) / 40 - 1.25, 0, 1)
    return (2 * late - 1) * final[:, None] + 0.05 * rng.standard_normal((n, 19)), final


Make = Callable[[np.random.Generator, int], Curves]
