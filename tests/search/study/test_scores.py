"""Scores of runs: stored and read back, pooled by hand; Wilson's interval against scipy's."""

from typing import Any

import pytest
from scipy.stats import binomtest

from search.common.stats import wilson
from search.study.scores import PairScores, scores_of
from search.study.trials import SCORES, attributes_of
from tests.search.made import proxy


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (0, 50), (327, 1000), (999, 1000), (33500, 67000)])
def test_wilsons_interval_is_scipys(right: int, total: int) -> None:
    expected = binomtest(right, total).proportion_ci(0.95, "wilson")
    assert wilson(right, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


def run(number: int, sha256: str = "a", right: int = 3, mean: float = 0.5) -> Any:
    scores = PairScores(sha256, {"x": (right, 4), "y": (1, 6)}, mean)
    attributes: dict[str, Any] = {SCORES: scores.table()}
    return proxy(number, 1.5, **attributes)


def test_runs_of_a_configuration_are_pooled_over_the_same_pairs() -> None:
    scores = scores_of([run(0), run(1, right=1, mean=0.3), run(2, sha256="b", right=4), proxy(3, 1.4)])
    assert scores == PairScores("a", {"x": (4, 8), "y": (2, 12)}, 0.4, 2)
    assert scores.accuracy == 0.3
    low, high = wilson(3, 10)  # as wide as one run's: both chose among the same ten pairs
    assert scores.text == f"30.0% ({low:.1%} … {high:.1%})"
    assert scores_of([proxy(0, 1.4)]) is None


@pytest.mark.parametrize(
    "forged",
    [
        *(1, {}, {"sha256": "a", "phenomena": {}, "paradigm_mean": 0.5}),
        {"sha256": "a", "phenomena": {"x": [5, 4]}, "paradigm_mean": 0.5},
        {"sha256": "a", "phenomena": {"x": [0, 0]}, "paradigm_mean": 0.5},
        {"sha256": "a", "phenomena": {"x": ["1", 4]}, "paradigm_mean": 0.5},
        {"sha256": "a", "phenomena": {"x": [1, 4]}, "paradigm_mean": float("nan")},
        {"phenomena": {"x": [1, 4]}, "paradigm_mean": 0.5},
    ],
)
def test_scores_that_someone_else_wrote_are_left_out(forged: Any) -> None:
    assert attributes_of(proxy(0, 1.5, **{SCORES: forged})).scores is None
