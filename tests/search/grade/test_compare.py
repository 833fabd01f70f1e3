"""Means and paired differences against scipy, and how often chance is taken for a lead."""

import numpy as np
import pytest
from scipy import stats

from search.grade.compare import by_prompt, difference, mean, ranked
from search.study.results import Significance

ONE = np.array([7.0, 5.5, 6.0, 8.0, np.nan, 6.5])
OTHER = np.array([6.0, 5.0, 6.5, 6.0, 4.0, np.nan])


def test_a_mean_has_students_interval_over_prompts() -> None:
    found = mean(ONE)
    assert found is not None
    assert found.half_width is not None
    there = ONE[~np.isnan(ONE)]
    low, high = stats.t.interval(0.95, 4, loc=there.mean(), scale=stats.sem(there))
    assert (found.value - found.half_width, found.value + found.half_width) == pytest.approx((low, high))
    assert found.prompts == 5
    single = mean(np.array([3.0, np.nan]))
    assert single is not None
    assert (single.value, single.half_width) == (3.0, None)
    assert mean(np.array([np.nan])) is None


@pytest.mark.parametrize(("models", "pairs"), [(1, 1), (2, 1), (4, 6)])
def test_a_difference_is_paired_and_holds_for_all_pairs_of_models(models: int, pairs: int) -> None:
    """Four prompts have both."""
    found = difference(ONE, OTHER, models)
    test = stats.ttest_rel(ONE, OTHER, nan_policy="omit")
    interval = test.confidence_interval(1 - 0.05 / pairs)
    assert found is not None
    assert found.difference.half_width is not None
    value, half = found.difference.value, found.difference.half_width
    assert (value - half, value + half) == pytest.approx((interval.low, interval.high))
    assert (found.significance is Significance.MORE_THAN_NOISE) == (test.pvalue * pairs < 0.05)
    assert found.difference.prompts == 4


def test_equal_differences_and_one_prompt_prove_nothing() -> None:
    for one, other in (([7.0, 6.0], [6.0, 5.0]), ([7.0], [2.0])):
        found = difference(np.array(one), np.array(other), 2)
        assert found is not None
        assert found.significance is Significance.NOT_KNOWN
        assert found.table["verdict"] == "not known"
    assert difference(np.array([1.0, np.nan]), np.array([np.nan, 1.0]), 2) is None


def test_equal_models_seldom_lead_and_the_best_of_a_hundred_prompts_does() -> None:
    """Of four equal models the first by mean is compared with the last: 5% of leads may be chance."""
    draw = np.random.default_rng(0)
    leads = 0
    for _ in range(300):
        values = draw.normal(5, 1, (1, 20)) + draw.normal(0, 1, (4, 20))
        order = ranked(values)
        found = difference(values[order[0]], values[order[-1]], 4)
        leads += found is not None and found.significance is Significance.MORE_THAN_NOISE
    assert leads <= 300 * 0.05 + 3 * np.sqrt(300 * 0.05 * 0.95)
    hard = draw.normal(5, 3, 100)
    found = difference(hard + 0.5 + draw.normal(0, 0.5, 100), hard + draw.normal(0, 0.5, 100), 2)
    assert found is not None
    assert found.significance is Significance.MORE_THAN_NOISE


def test_values_are_means_of_samples_and_what_is_not_there_is_left_out() -> None:
    values = by_prompt({(0, 1): [6.0, 7.0], (1, 0): [2.0], (1, 1): []}, 3, 2)
    assert np.array_equal(values, [[np.nan, 6.5], [2.0, np.nan], [np.nan, np.nan]], equal_nan=True)
    assert ranked(values) == [0, 1, 2]
    assert ranked(values[::-1]) == [2, 1, 0]
