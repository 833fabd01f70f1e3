import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search.common.stats import (
    chance_of_as_many,
    chance_of_lower,
    fall_over_time,
    fall_with_progress,
    largest_offset_p,
    least_gap,
    permutation_p,
    seeds_to_tell,
    spearman,
)


def test_four_of_five_in_a_tenth_by_hand() -> None:
    assert chance_of_as_many(4, 5, 0.1) == pytest.approx(5 * 0.1**4 * 0.9 + 0.1**5)


def test_lower_is_mann_and_whitneys_where_all_ran_at_the_same_time() -> None:
    rng = np.random.default_rng(6)
    values, inside = rng.standard_normal(20), np.arange(20) < 8
    exact = stats.mannwhitneyu(values[inside], values[~inside], alternative="less").pvalue
    assert chance_of_lower(values.tolist(), [0] * 20, inside.tolist()) == pytest.approx(exact)
    assert chance_of_lower(values.tolist(), [0] * 20, [True] * 20) == 1.0


def test_what_time_explains_is_not_lower() -> None:
    """All improve with time, and those inside came late: rarely called lower, but when they really are."""
    rng = np.random.default_rng(7)
    order, false_alarms, detected = np.arange(40), 0, 0
    for _ in range(300):
        inside = rng.random(40) < order / 40
        values = -order / 10 + rng.standard_normal(40)
        false_alarms += chance_of_lower(values.tolist(), order.tolist(), inside.tolist()) <= 0.05
        detected += chance_of_lower((values - 2 * inside).tolist(), order.tolist(), inside.tolist()) <= 0.05
    assert false_alarms / 300 <= 0.08
    assert detected / 300 > 0.9


def test_the_permutation_test_is_that_over_every_order() -> None:
    x, y = [0.1, 0.5, 0.7, 0.9, 1.4, 2.0], [2.0, 1.0, 3.0, 5.0, 4.0, 9.0]
    orders = [abs(spearman(x, list(order))) for order in itertools.permutations(y)]
    exact = np.mean([rho >= abs(spearman(x, y)) - 1e-12 for rho in orders])
    assert permutation_p(x, y) == pytest.approx(exact, abs=0.02)


def test_the_largest_offset_is_scipys_with_two_groups() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(9) + 0.8, rng.standard_normal(12)
    exact = stats.permutation_test((a, b), lambda p, q: np.mean(p) - np.mean(q), n_resamples=20_000, rng=rng)
    offset, p = largest_offset_p([*a, *b], ["a"] * 9 + ["b"] * 12, ["a"])["a"]
    assert offset == pytest.approx(a.mean() - b.mean())
    assert p == pytest.approx(exact.pvalue, abs=0.03)


def test_many_groups_that_do_not_differ_rarely_look_odd() -> None:
    rng = np.random.default_rng(1)
    groups = [f"worker {i % 8}" for i in range(48)]
    odd = 0
    for _ in range(400):
        offsets = largest_offset_p(rng.standard_normal(48), groups, sorted(set(groups)))
        odd += min(p for _, p in offsets.values()) <= 0.05
    assert odd / 400 <= 0.08


def pairs(rng: np.random.Generator, n: int, spread: float, noise: float) -> tuple[np.ndarray, np.ndarray]:
    true = spread * rng.standard_normal(n)
    return true + noise * rng.standard_normal(n), true + noise * rng.standard_normal(n)


@pytest.mark.parametrize("narrower", [1.0, 0.6, 0.3])
def test_a_narrower_spread_alone_is_no_fall(narrower: float) -> None:
    """A search that closes in: the correlation falls, and the noise is what it was."""
    rng = np.random.default_rng(2)
    false_alarms, lower = 0, 0.0
    for _ in range(400):
        first, second = pairs(rng, 25, 1.0, 0.3), pairs(rng, 25, narrower, 0.3)
        fall = fall_over_time(np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]]))
        false_alarms += fall.p <= 0.05
        lower += fall.before - fall.after
    assert false_alarms / 400 <= 0.08
    assert narrower == 1.0 or lower / 400 > 0.05


def test_a_relation_that_is_lost_is_a_fall() -> None:
    rng = np.random.default_rng(3)
    detected = 0
    for _ in range(100):
        first, second = pairs(rng, 20, 1.0, 0.3), rng.standard_normal((2, 20))
        fall = fall_over_time(np.concatenate([first[0], second[0]]), np.concatenate([first[1], second[1]]))
        detected += fall.p <= 0.01
    assert detected > 85


def test_one_odd_run_is_no_fall() -> None:
    x = np.arange(40) / 10
    y = x + 0.5 * np.random.default_rng(8).standard_normal(40)
    y[30] = 50.0
    assert np.corrcoef(x[20:], y[20:])[0, 1] < 0.3
    assert fall_over_time(x, y).p > 0.05


def test_equal_correlations_rarely_look_like_a_fall_with_progress() -> None:
    rng = np.random.default_rng(4)
    false_alarms = detected = 0
    for _ in range(400):
        true, *noises = rng.standard_normal((4, 30))
        early, late, final = (true + 0.5 * e for e in noises)
        false_alarms += fall_with_progress(early, late, final).p <= 0.05
        worse = fall_with_progress(final + 0.2 * noises[0], late + noises[1], final)
        detected += worse.p <= 0.05
    assert false_alarms / 400 <= 0.08
    assert detected / 400 > 0.9


def test_the_least_gap_is_where_students_test_turns() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal(4), rng.standard_normal(6)
    pooled = math.sqrt((a.var(ddof=1) * 3 + b.var(ddof=1) * 5) / 8)
    b = b - b.mean() + a.mean() + least_gap(pooled, 8, (4, 6))
    assert stats.ttest_ind(a, b).pvalue == pytest.approx(0.05)


def test_seeds_by_the_textbook() -> None:
    """A gap of one deviation, 5% two-sided, 80% power: 16 in each group (Lehr's rule)."""
    assert seeds_to_tell(0.01, 0.01) == 16
    assert seeds_to_tell(0.0, 0.01) is None


@given(st.floats(1e-4, 1), st.floats(1e-4, 1))
def test_that_many_seeds_have_the_power(gap: float, deviation: float) -> None:
    n = seeds_to_tell(gap, deviation)
    assert n is not None
    power = stats.norm.sf(stats.norm.ppf(0.975) - gap / (deviation * math.sqrt(2 / n)))
    assert power >= 0.8 - 1e-9
