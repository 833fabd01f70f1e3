"""The pruner, by its rule "risk", over whole simulated studies of which the truth is known."""

import numpy as np

from search.strategy.pruner import RISK, CorrelationPruner
from tests.search.curves_made import (
    Make,
    best_is_kept,
    cost,
    crossing,
    predictive,
    pruned,
    pruned_in_turn,
    unrelated,
)


def tried(make: Make, studies: int, trials: int = 40) -> tuple[float, float, float]:
    """Mean cost, share of trials pruned, and share of studies that kept their best run."""
    figures = []
    for seed in range(studies):
        curves = make(np.random.default_rng(seed), trials)
        done = pruned_in_turn(curves, CorrelationPruner(rule=RISK, min_trials=6), seed)
        figures.append((cost(done), float(np.mean(pruned(done))), float(best_is_kept(curves, done))))
    spent, stopped, kept = np.mean(figures, axis=0)
    return float(spent), float(stopped), float(kept)


def test_curves_that_predict_well_are_pruned_early_and_the_best_is_kept() -> None:
    spent, stopped, kept = tried(predictive, 10)
    assert spent < 0.45
    assert stopped > 0.55
    assert kept == 1.0


def test_curves_that_predict_nothing_are_seldom_pruned() -> None:
    """With prior odds of 10 to 1 that losses predict, some trials are pruned before the evidence against it is in."""
    spent, stopped, _ = tried(unrelated, 10)
    assert spent > 0.75
    assert stopped < 0.3


def test_if_curves_cross_the_best_is_kept_in_most_studies() -> None:
    """Early leaders end last; at 70% all stand alike. Then the rest is pruned, within the last quarter."""
    spent, stopped, kept = tried(crossing, 10)
    assert 0.7 < spent < 0.9
    assert stopped > 0.5
    assert kept >= 0.7


def test_a_maximising_study_prunes_as_its_mirror_does() -> None:
    curves = predictive(np.random.default_rng(0), 40)
    up, down = (pruned(pruned_in_turn(curves, CorrelationPruner(), 0, sign)) for sign in (-1.0, 1.0))
    assert up == down
