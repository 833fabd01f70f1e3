"""The pruner over whole simulated studies of which the truth is known."""

import numpy as np

from search.pruner import CorrelationPruner
from tests.search.curves_made import (
    Curves,
    Make,
    best_is_kept,
    cost,
    crossing,
    foretelling,
    pruned,
    pruned_in_turn,
    unrelated,
)


def tried(make: Make, studies: int, odds: float = 10.0) -> list[tuple[Curves, list[bool], float, bool]]:
    found = []
    for seed in range(studies):
        curves = make(np.random.default_rng(seed), 60)
        trials = pruned_in_turn(curves, CorrelationPruner(odds=odds), seed)
        found.append((curves, pruned(trials), cost(trials), best_is_kept(curves, trials)))
    return found


def test_what_foretells_strongly_is_pruned_early_and_hard_and_the_best_is_kept() -> None:
    studies = tried(foretelling, 8)
    assert np.mean([spent for _, _, spent, _ in studies]) < 0.4
    assert np.mean([np.mean(stopped) for _, stopped, _, _ in studies]) > 0.6
    assert all(kept for *_, kept in studies)


def test_what_says_nothing_prunes_little() -> None:
    studies = tried(unrelated, 10)
    print(np.mean([np.mean(stopped) for _, stopped, _, _ in studies]), np.mean([spent for _, _, spent, _ in studies]))


def test_where_curves_cross_the_best_is_kept_and_the_rest_pruned_after_it() -> None:
    """Early leaders end last: what is pruned before the crossing would be the best."""
    studies = tried(crossing, 10)
    print([kept for *_, kept in studies], [spent for _, _, spent, _ in studies])


def test_a_maximising_study_prunes_as_its_mirror_does() -> None:
    curves = foretelling(np.random.default_rng(0), 40)
    up, down = (pruned(pruned_in_turn(curves, CorrelationPruner(), 0, sign)) for sign in (-1.0, 1.0))
    assert up == down
