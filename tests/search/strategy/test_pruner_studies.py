"""The pruner over whole simulated studies of which the truth is known."""

import numpy as np

from search.strategy.pruner import CorrelationPruner
from tests.search.curves_made import (
    Make,
    best_is_kept,
    cost,
    crossing,
    foretelling,
    pruned,
    pruned_in_turn,
    unrelated,
)


def tried(make: Make, studies: int, trials: int = 40) -> tuple[float, float, float]:
    """Mean cost, share of trials pruned, and share of studies that kept their best run."""
    found = []
    for seed in range(studies):
        curves = make(np.random.default_rng(seed), trials)
        done = pruned_in_turn(curves, CorrelationPruner(), seed)
        found.append((cost(done), float(np.mean(pruned(done))), float(best_is_kept(curves, done))))
    spent, stopped, kept = np.mean(found, axis=0)
    return float(spent), float(stopped), float(kept)


def test_what_foretells_strongly_is_pruned_early_and_hard_and_the_best_is_kept() -> None:
    spent, stopped, kept = tried(foretelling, 10)
    assert spent < 0.45
    assert stopped > 0.55
    assert kept == 1.0


def test_what_says_nothing_costs_little_to_have_asked() -> None:
    """Odds of 10 to 1 that losses say something cost, where they don't, what is pruned until the evidence is in."""
    spent, stopped, _ = tried(unrelated, 10)
    assert spent > 0.75
    assert stopped < 0.3


def test_where_curves_cross_the_best_is_kept_in_most_studies() -> None:
    """Early leaders end last; at 70% all stand alike. Then the rest is pruned, within the last quarter."""
    spent, stopped, kept = tried(crossing, 10)
    assert 0.7 < spent < 0.9
    assert stopped > 0.5
    assert kept >= 0.7


def test_a_maximising_study_prunes_as_its_mirror_does() -> None:
    curves = foretelling(np.random.default_rng(0), 40)
    up, down = (pruned(pruned_in_turn(curves, CorrelationPruner(), 0, sign)) for sign in (-1.0, 1.0))
    assert up == down
