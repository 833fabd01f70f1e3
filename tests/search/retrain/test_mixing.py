"""Which weights to average with: on functions of weights whose best is known."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.common.errors import SearchError
from search.retrain import mixing
from search.retrain.mixing import Mix, Weights, average_of, can_evolve, equal_weights, evolved, greedy_soup

needs_cmaes = pytest.mark.skipif(not can_evolve(), reason="needs the package cmaes")


def bowl(points: np.ndarray, goal: np.ndarray) -> Callable[[Weights], float]:
    """The squared distance of the mixed points from a goal, summed over groups: convex, as near a common minimum."""
    return lambda weights: float(((weights @ points - goal) ** 2).sum())


def alone(n: int, groups: int, measure: Callable[[Weights], float]) -> list[Mix]:
    return [Mix(str(i), equal_weights([i], n, groups), measure(equal_weights([i], n, groups))) for i in range(n)]


def members(mix: Mix) -> set[int]:
    return set(np.flatnonzero(mix.weights[0]).tolist())


def test_greedy_soups_are_the_best_of_all_averages_where_one_ingredient_spoils_them() -> None:
    """Three points around the goal and one far away: brute force over all 15 sets finds the three."""
    points = np.array([[1.0, 0.0], [-0.6, 0.8], [-0.6, -0.9], [6.0, 6.0]])
    measure = bowl(points, np.zeros(2))
    soup = greedy_soup(alone(4, 1, measure), measure)
    sets = [s for size in range(1, 5) for s in itertools.combinations(range(4), size)]
    best = min(sets, key=lambda s: measure(equal_weights(s, 4, 1)))
    assert members(soup) == set(best) == {0, 1, 2}
    assert soup.weights[0, :3].tolist() == [1 / 3] * 3
    assert soup.bpb == measure(soup.weights)
    assert soup.name == "greedy soup of 3"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=6))
def test_greedy_soups_are_never_worse_than_the_best_alone_and_gain_by_each_member(
    points: list[tuple[float, float]],
) -> None:
    """Followed by hand: in order of their own values, a member is one that lowers what was there before it."""
    measure, n = bowl(np.array(points), np.array([0.5, -0.5])), len(points)
    singles = alone(n, 1, measure)
    soup = greedy_soup(singles, measure)
    assert soup.bpb <= min(single.bpb for single in singles)
    there: list[int] = []
    for i in sorted(range(n), key=lambda i: singles[i].bpb):
        before = measure(equal_weights(there, n, 1)) if there else np.inf
        if measure(equal_weights([*there, i], n, 1)) < before:
            there.append(i)
    assert members(soup) == set(there)


def test_averages_measure_what_they_say() -> None:
    measure = bowl(np.array([[0.0], [2.0], [5.0]]), np.array([1.0]))
    mix = average_of("two", [0, 1], 3, 2, measure)
    assert mix == Mix("two", mix.weights, 0.0)
    assert mix.weights.tolist() == [[0.5, 0.5, 0.0]] * 2


@needs_cmaes
def test_evolved_weights_come_near_the_best_that_there_are() -> None:
    """Of 0 and 1, mixed for each of two groups, the goals 0.2 and 0.7 are met with weights of 0.2 and 0.7."""
    points = np.array([0.0, 1.0])

    def measure(weights: Weights) -> float:
        return float(((weights @ points - [0.2, 0.7]) ** 2).sum())

    start = min(alone(2, 2, measure), key=lambda mix: mix.bpb)
    best = evolved(start, equal_weights([0, 1], 2, 2), measure, 80, seed=0)
    assert best.weights[:, 1] == pytest.approx([0.2, 0.7], abs=0.05)
    assert best.bpb == measure(best.weights)
    assert best.weights.sum(axis=1) == pytest.approx([1, 1])
    again = evolved(start, equal_weights([0, 1], 2, 2), measure, 80, seed=0)
    assert np.array_equal(again.weights, best.weights)


@needs_cmaes
def test_evolved_weights_stay_among_the_networks_of_the_average_and_the_start() -> None:
    """The fourth network would be perfect, and is neither."""
    measure = bowl(np.array([[1.0], [2.0], [3.0], [0.0]]), np.array([0.0]))
    start = alone(4, 1, measure)[0]
    tried: list[Weights] = []

    def noted(weights: Weights) -> float:
        tried.append(weights)
        return measure(weights)

    best = evolved(start, equal_weights([1, 2], 4, 1), noted, 10, seed=0)
    assert tried[0].tolist() == [pytest.approx([0.5, 0.25, 0.25, 0.0])]
    assert all(weights[0, 3] == 0 for weights in (*tried, best.weights))
    assert best.bpb <= start.bpb == 1


@needs_cmaes
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 2))
def test_evolved_weights_are_never_worse_than_the_start(seed: int, n: int, groups: int) -> None:
    """Of any function, here one without any order."""
    values: dict[bytes, float] = {}
    rng = np.random.default_rng(seed)

    def measure(weights: Weights) -> float:
        assert weights.sum(axis=1) == pytest.approx(np.ones(groups))
        assert (weights >= 0).all()
        return values.setdefault(weights.tobytes(), float(rng.random()))

    start = min(alone(n, groups, measure), key=lambda mix: mix.bpb)
    best = evolved(start, equal_weights(range(n), n, groups), measure, 6, seed=seed)
    assert best.bpb == min(values.values())
    assert values[best.weights.tobytes()] == best.bpb


def test_evolved_weights_without_cmaes_are_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixing, "can_evolve", lambda: False)
    start = Mix("one", equal_weights([0], 2, 1), 1.0)
    with pytest.raises(SearchError, match=r"pip install 'lilm-search\[merge\]'"):
        evolved(start, start.weights, lambda weights: 0.0, 5, seed=0)
