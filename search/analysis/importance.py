"""Importance of settings: how much the best trials differ from all in each, compared with chance."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.trials import attributes_of, finished

MIN_TRIALS = 16
"""Fewest trials: their best quarter is 4."""
BEST_SHARE = 0.25
"""Share of trials that count as the best."""
SHUFFLES = 99
"""Shuffles of the results that show what chance explains."""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """PED-ANOVA over finished and pruned trials (Watanabe, Bansal & Hutter, IJCAI 2023)."""

    trials: int
    best: int
    """Number of trials in the best quarter."""
    divergences: dict[str, float]
    """Pearson divergence of the best quarter from all trials in each setting, largest first; 0 if they are alike."""
    by_chance: dict[str, float]
    """Each setting's largest divergence over shuffled results: what chance alone explains."""

    @property
    def shares(self) -> dict[str, float]:
        """Each setting's share of the sum of divergences, the largest first."""
        total = sum(self.divergences.values()) or 1.0
        return {name: divergence / total for name, divergence in self.divergences.items()}

    @property
    def proven(self) -> list[str]:
        """The settings that chance doesn't explain, the most important first."""
        return [name for name, divergence in self.divergences.items() if divergence > self.by_chance[name]]


def importance(proxies: Sequence[FrozenTrial]) -> Importance | None:
    """Return the importance of each setting for the best quarter of trials; None if there are too few.

    A pruned trial is ranked behind all finished ones. Baselines, which no sampler drew, are left out.
    """
    drawn = [t for t in proxies if attributes_of(t).baseline is None and t.params]
    done = [t for t in finished(drawn) if math.isfinite(t.value or 0.0)]
    trials = [*done, *(t for t in drawn if t.state == TrialState.PRUNED)]
    best = math.ceil(BEST_SHARE * len(trials))
    if len(trials) < MIN_TRIALS or len(done) < best or len({t.value for t in done}) < 2:
        return None
    values = np.array([t.value if t.state == TrialState.COMPLETE else math.inf for t in trials], dtype=float)
    worst = float(np.max(values[np.isfinite(values)])) + 1.0
    values[np.isinf(values)] = worst
    divergences, chance = _evaluate(trials, values)
    divergences = dict(sorted(divergences.items(), key=lambda pair: -pair[1]))
    by_chance = {name: chance[name] for name in divergences}
    return Importance(trials=len(trials), best=best, divergences=divergences, by_chance=by_chance)


def _evaluate(trials: Sequence[FrozenTrial], values: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Return each setting's divergence, and its largest one over shuffled results."""
    from optuna.importance import PedAnovaImportanceEvaluator

    logged = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning that `target` must be lower-is-better, which ours is
            study = optuna.create_study()
            study.add_trials([create_trial(value=0.0, params=t.params, distributions=t.distributions) for t in trials])
            evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
            rng = np.random.default_rng(0)

            def divergences(results: np.ndarray) -> dict[str, float]:
                return evaluator.evaluate(study, target=lambda t: float(results[t.number]))

            shuffled = [divergences(rng.permutation(values)) for _ in range(SHUFFLES)]
            return divergences(values), {k: max(s[k] for s in shuffled) for k in shuffled[0]}
    finally:
        optuna.logging.set_verbosity(logged)
