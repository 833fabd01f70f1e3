from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.strategy.entrants import Entrant, entrant_of, proxies_to_add, proxies_to_confirm
from search.strategy.study_pruner import may_be_pruned
from tests.search.made import PLAN


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
    assert numbers(proxies_to_confirm(PROXIES, top=3, drawn=0, seed=0)) == [2, 1, 6]


def test_one_more_is_drawn_from_the_rest() -> None:
    chosen = proxies_to_confirm(PROXIES, top=2, drawn=1, seed=0)
    assert numbers(chosen[:2]) == [2, 1]
    assert chosen[2].number in (6, 7)
    assert numbers(chosen) == numbers(proxies_to_confirm(PROXIES, top=2, drawn=1, seed=0))


def test_repeats_count_by_their_mean() -> None:
    """One lucky seed of x = 1 is below both of x = 2, whose mean is lower."""
    repeated = [proxy(0, 1.20, 1.0), proxy(1, 1.30, 2.0), proxy(2, 1.50, 1.0), proxy(3, 1.31, 2.0), proxy(4, 1.6, 3.0)]
    assert numbers(proxies_to_confirm(repeated, top=2, drawn=0, seed=0)) == [1, 0]


@given(st.integers(1, 10), st.integers(0, 5), st.integers(0, 100))
def test_never_more_than_there_are_and_never_twice(top: int, drawn: int, seed: int) -> None:
    chosen = proxies_to_confirm(PROXIES, top=top, drawn=drawn, seed=seed)
    assert len(chosen) == min(4, top + drawn)
    assert len({t.params["x"] for t in chosen}) == len(chosen)


def test_the_race_widens_by_the_next_best_and_one_at_random_in_turn() -> None:
    many = [proxy(i, 1.2 + i / 100, float(i)) for i in range(20)]
    entered = numbers(proxies_to_add(many, [0, 1, 2], count=4, seed=0))
    assert entered[0] == 3
    assert entered[2] == next(i for i in range(4, 20) if i != entered[1])
    assert numbers(proxies_to_add(many, [0, 1, 2], count=3, seed=0)) == entered[:3]


@given(st.sets(st.integers(0, 8)), st.integers(0, 8), st.integers(0, 100))
def test_no_proxy_enters_twice_and_no_baseline(chosen: set[int], count: int, seed: int) -> None:
    """1, 2, 6 and 7 are distinct, finished and not baselines; 3 repeats 2, and 8 the baseline."""
    entered = numbers(proxies_to_add(PROXIES, sorted(chosen), count=count, seed=seed))
    free = {1, 2, 6, 7} - chosen
    assert len(entered) == len(set(entered)) == min(count, len(free))
    assert set(entered) <= free


def test_an_entrant_is_read_back_from_its_runs() -> None:
    for entrant in (
        Entrant("top", None, 17, 0.7, {"x": 1.0}),
        Entrant("wider", None, 17, params={"x": 1.0}),
        Entrant("baseline", "by-hand", params={"x": 1.0}),
    ):
        run = proxy(0, 1.3, 1.0, kind=entrant.kind, **entrant.attrs(101, "30m"))
        assert entrant_of(run) == entrant
        assert entrant_of(run).params == {"x": 1.0}
    assert Entrant("top", None, 17, 0.7).key == "trial 17 at lr × 0.7"
    assert Entrant("baseline", "by-hand").key == "baseline by-hand"


def test_only_first_long_runs_of_the_best_proxies_may_be_pruned() -> None:
    first = {"seed": 100, "budget": "30m", "kind": "top"}
    assert may_be_pruned(PLAN, first)
    for other in (
        {"kind": "random"},
        {"kind": "wider"},
        {"kind": "baseline"},
        {"kind": "hand"},
        {"seed": 101},
        {"budget": "12m"},
    ):
        assert not may_be_pruned(PLAN, first | other)
