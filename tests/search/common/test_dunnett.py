"""Dunnett's test against his table, scipy's, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from search.common.dunnett import dunnett_quantile, largest_t_chance, seeds_against_control

TABLE = {
    10: (2.23, 2.57, 2.76, 2.89, 2.99, 3.07, 3.14, 3.19, 3.24),
    20: (2.09, 2.38, 2.54, 2.65, 2.73, 2.80, 2.86, 2.90, 2.95),
}
"""Two-sided at 95%, 1 to 9 groups as large as the control (Dunnett, Biometrics 20, 1964, table II)."""


@pytest.mark.parametrize("degrees", TABLE)
def test_quantiles_are_those_of_the_published_table(degrees: int) -> None:
    quantiles = [dunnett_quantile(5, (5,) * groups, degrees) for groups in range(1, 10)]
    assert quantiles == pytest.approx(TABLE[degrees], abs=0.0051)


def test_one_group_is_students_t() -> None:
    assert dunnett_quantile(3, (2,), 3) == pytest.approx(stats.t.ppf(0.975, 3), abs=1e-5)
    assert dunnett_quantile(3, (2,), 50_000) == pytest.approx(1.96, abs=1e-3)


def test_unequal_groups_agree_with_scipys_test() -> None:
    rng = np.random.default_rng(3)
    groups = [rng.normal(mean, 1, n) for mean, n in ((0.0, 2), (1.0, 3), (2.5, 4))]
    control = rng.normal(0, 1, 6)
    theirs = stats.dunnett(*groups, control=control, rng=np.random.default_rng(0))
    sizes = [len(g) for g in groups]
    degrees = sum(sizes) + len(control) - len(sizes) - 1
    ours = [1 - largest_t_chance(abs(t), len(control), sizes, degrees) for t in theirs.statistic]
    assert ours == pytest.approx(theirs.pvalue.tolist(), abs=2e-3)


def test_the_seeds_that_it_names_find_a_true_gap_four_times_in_five() -> None:
    """One idea of nine is better by one deviation; simulated, with three plain runs for each of an idea's."""
    seeds, rng = seeds_against_control(1.0, 1.0, groups=9, control_share=3), np.random.default_rng(0)
    assert seeds is not None
    draws = rng.normal(size=(3000, 12, seeds))
    draws[:, 0] -= 1.0
    ideas, plain = draws[:, :9], draws[:, 9:].reshape(3000, -1)
    degrees = 9 * (seeds - 1) + 3 * seeds - 1
    squares = ((ideas - ideas.mean(2, keepdims=True)) ** 2).sum((1, 2)) + ((plain.T - plain.mean(1)) ** 2).sum(0)
    t = (ideas[:, 0].mean(1) - plain.mean(1)) / np.sqrt(squares / degrees * (1 / seeds + 1 / (3 * seeds)))
    found = float((t < -dunnett_quantile(3 * seeds, (seeds,) * 9, degrees)).mean())
    assert found == pytest.approx(0.8, abs=0.03)


def test_no_gap_and_a_tiny_one_are_out_of_reach() -> None:
    assert seeds_against_control(0.0, 1.0, 3, 2) is None
    assert seeds_against_control(0.01, 1.0, 3, 2) is None
    few = seeds_against_control(-50.0, 1.0, 3, 2)
    assert few == 2
    assert math.isfinite(dunnett_quantile(1, (1,), 1))
