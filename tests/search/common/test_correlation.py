import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from search.common.stats import lower_bound, spearman

losses = st.lists(st.floats(-10, 10).map(lambda x: round(x, 2)), min_size=4, max_size=40)


@given(losses, st.integers(0, 2**32 - 1))
def test_spearman_is_scipys_ties_included(x: list[float], seed: int) -> None:
    y = np.random.default_rng(seed).permutation(x).round(1).tolist()
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert spearman(x, y) == 0.0
    else:
        assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_the_bound_holds_as_often_as_it_says() -> None:
    """Coverage by simulation: a 90% lower bound lies below the true ρ of a bivariate normal in about 90% of samples."""
    rng = np.random.default_rng(0)
    r, n, held = 0.6, 20, 0
    true_rho = 6 / math.pi * math.asin(r / 2)  # Spearman's ρ of a bivariate normal with correlation r
    for _ in range(2000):
        x, e = rng.standard_normal((2, n))
        held += lower_bound(spearman(x, r * x + math.sqrt(1 - r * r) * e), n) < true_rho
    assert 0.87 < held / 2000 < 0.94


def test_the_bound_rises_with_pairs_and_needs_four() -> None:
    assert lower_bound(0.9, 3) == -1.0
    assert lower_bound(0.9, 6) < lower_bound(0.9, 60) < 0.9


def test_four_pairs_in_perfect_order_prove_nothing() -> None:
    """One order in 24 is perfect by chance: near enough to one in ten, and eight pairs are another matter."""
    assert lower_bound(1.0, 4) < 0.3
    assert 0.9 < lower_bound(1.0, 8) < 0.99
