"""Which settings set the best trials apart from all others, and how much of that chance alone would show."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.trials import attributes_of, finished

FEWEST = 16
"""Trials, of which the best quarter is 4."""
SHARE = 0.25
SHUFFLES = 99


@dataclass(frozen=True, kw_only=True)
class Importance:
    """PED-ANOVA over finished and pruned trials (Watanabe, Bansal & Hutter, IJCAI 2023)."""

    trials: int
    best: int
    """How many of them are the best quarter."""
    divergences: dict[str, float]
    """Pearson divergence of the best quarter from all, by each setting, the largest first; 0 where they are alike."""
    by_chance: dict[str, float]
    """A setting's largest divergence where the results were shuffled, `SHUFFLES` times: no share of the real ones."""

    @property
    def shares(self) -> dict[str, float]:
        """Of all settings' divergences, the largest first; 1 together."""
        total = sum(self.divergences.values()) or 1.0
        return {name: found / total for name, found in self.divergences.items()}

    @property
    def proven(self) -> list[str]:
        """The settings that chance doesn't explain, the most important first."""
        return [name for name, found in self.divergences.items() if found > self.by_chance[name]]


def importance(proxies: Sequence[FrozenTrial]) -> Importance | None:
    """Return how much each setting sets the best quarter apart; None where too few trials tell.

    A pruned trial counts as one that ended behind all finished ones, which is all that ranks need. Baselines, which
    no sampler drew, are left out.
    """
    drawn = [t for t in proxies if attributes_of(t).baseline is None and t.params]
    done = [t for t in finished(drawn) if math.isfinite(t.value or 0.0)]
    trials = [*done, *(t for t in drawn if t.state == TrialState.PRUNED)]
    best = math.ceil(SHARE * len(trials))
    if len(trials) < FEWEST or len(done) < best or len({t.value for t in done}) < 2:
        return None
    values = np.array([t.value if t.state == TrialState.COMPLETE else math.inf for t in trials], dtype=float)
    worst = float(np.max(values[np.isfinite(values)])) + 1.0
    values[np.isinf(values)] = worst
    found, chance = _evaluate(trials, values)
    found = dict(sorted(found.items(), key=lambda pair: -pair[1]))
    return Importance(trials=len(trials), best=best, divergences=found, by_chance={k: chance[k] for k in found})


def _evaluate(trials: Sequence[FrozenTrial], values: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Return each setting's divergence, and the largest one over shuffled results."""
    from optuna.importance import PedAnovaImportanceEvaluator

    logged = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that `target` is lower-better, which ours is
            study = optuna.create_study()
            study.add_trials([create_trial(value=0.0, params=t.params, distributions=t.distributions) for t in trials])
            evaluator = PedAnovaImportanceEvaluator(target_quantile=SHARE)
            rng = np.random.default_rng(0)

            def once(told: np.ndarray) -> dict[str, float]:
                return evaluator.evaluate(study, target=lambda t: float(told[t.number]))

            shuffled = [once(rng.permutation(values)) for _ in range(SHUFFLES)]
            return once(values), {k: max(s[k] for s in shuffled) for k in shuffled[0]}
    finally:
        optuna.logging.set_verbosity(logged)
