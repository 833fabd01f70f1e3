"""Which weights to average networks with: equal ones, a greedy soup's, or evolved ones.

All that is known of a mix is what measuring it returns; the functions here know neither networks nor text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from search.common.errors import SearchError

Weights = Float[ndarray, "groups n"]
"""Weight of each of n networks in each group of blocks; those of a group sum to 1."""
Measure = Callable[[Weights], float]
"""Returns the BPB of a mix on the text that is chosen on."""
HOW_TO_EVOLVE = "evolved weights need the package cmaes: `pip install 'lilm-search[merge]'`"


@dataclass(frozen=True)
class Mix:
    """Weights of an average, and what it was measured to be."""

    name: str
    weights: Weights
    bpb: float
    """BPB on the text that is chosen on."""


def equal_weights(members: Sequence[int], n: int, groups: int) -> Weights:
    """Return equal weights for these of n networks, and none for the others."""
    row = np.zeros(n)
    row[list(members)] = 1 / len(members)
    return np.tile(row, (groups, 1))


def average_of(name: str, members: Sequence[int], n: int, groups: int, measure: Measure) -> Mix:
    """Return the average of these of n networks, with equal weights, measured."""
    weights = equal_weights(members, n, groups)
    return Mix(name, weights, measure(weights))


def greedy_soup(singles: Sequence[Mix], measure: Measure) -> Mix:
    """Return Wortsman et al.'s greedy soup (2022, arXiv:2203.05482, recipe 1) of n networks, given each one alone.

    They are tried from the best to the worst, and each stays if the average of those that have stayed gets better by
    it. So it is never worse than the best one alone, where it was measured.
    """
    n, groups = len(singles), len(singles[0].weights)
    first, *others = np.argsort([single.bpb for single in singles], kind="stable").tolist()
    members, best = [first], singles[first].bpb
    for other in others:
        bpb = measure(equal_weights([*members, other], n, groups))
        if bpb < best:
            members, best = [*members, other], bpb
    return Mix(f"greedy soup of {len(members)}", equal_weights(members, n, groups), best)


def evolved(start: Mix, average: Weights, measure: Measure, trials: int, seed: int) -> Mix:
    """Return the best of `trials` mixes that CMA-ES draws (after Akiba et al. 2024, arXiv:2403.13187), or `start`.

    The search begins halfway between `start` and an average, w, and stays among the networks that have a part in w. A
    draw u of numbers from 0 to 1 means weights in proportion to w · u in each group: its middle is w, and all averages
    of those networks are within reach. Raises `SearchError` if the package cmaes is missing.
    """
    import optuna

    if not can_evolve():
        raise SearchError(HOW_TO_EVOLVE)
    middle = (start.weights + average) / 2
    places = [(int(group), int(i)) for group, i in np.argwhere(middle > 0)]
    names = [f"group {group}, network {i}" for group, i in places]

    def weights_of(draw: Sequence[float]) -> Weights:
        raw = np.zeros_like(middle)
        for place, u in zip(places, draw, strict=True):
            raw[place] = middle[place] * max(u, 1e-9)  # not 0 in all of a group
        return np.asarray(raw / raw.sum(axis=1, keepdims=True))

    def bpb(trial: optuna.Trial) -> float:
        return measure(weights_of([trial.suggest_float(name, 0, 1) for name in names]))

    study = optuna.create_study(sampler=optuna.samplers.CmaEsSampler(seed=seed))  # its mean begins in the middle
    study.enqueue_trial(dict.fromkeys(names, 0.5))
    study.optimize(bpb, n_trials=trials)
    best, name = study.best_trial, f"evolved in {trials} trials"
    if best.value is None or best.value >= start.bpb:
        return replace(start, name=name)
    return Mix(name, weights_of([best.params[each] for each in names]), best.value)


def can_evolve() -> bool:
    """Return whether the package is there that Optuna's CMA-ES needs."""
    from importlib.util import find_spec

    return find_spec("cmaes") is not None
