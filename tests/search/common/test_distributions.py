"""What is worked out here, so that scipy need not be imported, is scipy's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from search.common.stats import chance_of_as_many, kendall_tau, mann_whitney_p, normal_scores, ranks, score_among
from search.common.student import student_cdf, student_quantile

tied = st.lists(st.integers(-9, 9).map(lambda x: x / 4), min_size=1, max_size=60)


@given(tied)
def test_ranks_are_scipys_ties_included(values: list[float]) -> None:
    assert ranks(values).tolist() == stats.rankdata(values).tolist()


@given(tied)
def test_normal_scores_are_quantiles_of_ranks(values: list[float]) -> None:
    expected = special.ndtri((stats.rankdata(values) - 0.5) / len(values))
    assert normal_scores(values) == pytest.approx(expected, abs=1e-14)


def test_normal_scores_put_what_is_no_number_last() -> None:
    assert normal_scores([]).tolist() == []
    assert np.argmax(normal_scores([1.0, math.nan, 2.0])) == 1
    assert score_among(math.nan, [1.0, 2.0]) > score_among(9.0, [1.0, 2.0, 3.0, math.inf])


@given(tied, st.integers(0, 2**32 - 1))
def test_kendalls_tau_is_scipys_ties_included(x: list[float], seed: int) -> None:
    y = np.random.default_rng(seed).permutation(x).round(0).tolist()
    expected = stats.kendalltau(x, y).statistic if len(x) > 1 else math.nan
    assert kendall_tau(x, y) == pytest.approx(expected, abs=1e-14, nan_ok=True)


def test_students_quantiles_are_scipys_to_the_last_digit() -> None:
    """An export made before and after they were put into a table is the same text."""
    for degrees in (*range(1, 130), 1000):
        for confidence in (0.8, 0.95, 0.99):
            expected = float(stats.t.ppf((1 + confidence) / 2, degrees))
            assert student_quantile(degrees, confidence) == pytest.approx(expected, rel=1e-13)
        assert student_quantile(degrees) == float(special.stdtrit(degrees, 0.975))


@given(st.floats(0.2, 5000), st.floats(-200, 200))
def test_students_distribution_is_scipys(degrees: float, t: float) -> None:
    assert student_cdf(degrees, t) == pytest.approx(float(special.stdtr(degrees, t)), abs=2e-12)


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.0, 1.0))
def test_the_chance_of_as_many_is_the_binomials(hits: int, draws: int, share: float) -> None:
    assert chance_of_as_many(hits, draws, share) == pytest.approx(stats.binom.sf(hits - 1, draws, share), abs=1e-12)


samples = st.one_of(tied, st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))


@given(samples, samples, st.sampled_from(["less", "two-sided"]))
def test_mann_whitneys_p_is_scipys_exact_and_approximate(one: list[float], other: list[float], side: str) -> None:
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = float(stats.mannwhitneyu(one, other, alternative=side).pvalue)
    assert mann_whitney_p(one, other, side) == pytest.approx(1.0 if math.isnan(expected) else expected, abs=1e-12)
