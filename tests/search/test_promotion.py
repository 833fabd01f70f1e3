from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.promotion import candidates


def proxy(number: int, bpb: float, x: float, state: TrialState = TrialState.COMPLETE, **attrs: Any) -> FrozenTrial:
    value = None if state == TrialState.FAIL else bpb
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 100)}
    trial = create_trial(state=state, value=value, params={"x": x}, distributions=space, user_attrs=attrs)
    trial.number = number
    return trial


PROXIES = [
    proxy(0, 1.50, 0.0, baseline="by-hand"),
    proxy(1, 1.40, 1.0),
    proxy(2, 1.30, 2.0),
    proxy(3, 1.31, 2.0),  # the same configuration as 2
    proxy(4, 1.20, 4.0, TrialState.PRUNED),
    proxy(5, 1.10, 5.0, TrialState.FAIL),
    proxy(6, 1.45, 6.0),
    proxy(7, 1.60, 7.0),
    proxy(8, 1.25, 0.0),  # the baseline's configuration, drawn again
]


def numbers(trials: list[FrozenTrial]) -> list[int]:
    return [t.number for t in trials]


def test_the_best_that_differ_without_pruned_failed_or_baseline() -> None:
    assert numbers(candidates(PROXIES, top=3, drawn=0, seed=0)) == [2, 1, 6]


def test_one_more_is_drawn_from_the_rest() -> None:
    chosen = candidates(PROXIES, top=2, drawn=1, seed=0)
    assert numbers(chosen[:2]) == [2, 1]
    assert chosen[2].number in (6, 7)
    assert numbers(chosen) == numbers(candidates(PROXIES, top=2, drawn=1, seed=0))


def test_repeats_count_by_their_mean() -> None:
    """One lucky seed of x = 1 is below both of x = 2, whose mean is lower."""
    repeated = [proxy(0, 1.20, 1.0), proxy(1, 1.30, 2.0), proxy(2, 1.50, 1.0), proxy(3, 1.31, 2.0), proxy(4, 1.6, 3.0)]
    assert numbers(candidates(repeated, top=2, drawn=0, seed=0)) == [1, 0]


@given(st.integers(1, 10), st.integers(0, 5), st.integers(0, 100))
def test_never_more_than_there_are_and_never_twice(top: int, drawn: int, seed: int) -> None:
    chosen = candidates(PROXIES, top=top, drawn=drawn, seed=seed)
    assert len(chosen) == min(4, top + drawn)
    assert len({t.params["x"] for t in chosen}) == len(chosen)
