import itertools
import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from search.study.results import Noise, Significance, bpb_text, lead, pooled_noise, transfer_check


def test_pooled_noise_by_hand() -> None:
    noise = pooled_noise([[1.0, 1.2], [2.0, 2.0, 2.3], [5.0]])
    squares = 2 * 0.1**2 + 2 * 0.1**2 + 0.2**2
    assert noise.degrees == 3
    assert noise.deviation == pytest.approx(math.sqrt(squares / 3))


def test_the_interval_is_students() -> None:
    """With one configuration the pooled interval is the ordinary t interval of its mean."""
    values = [1.31, 1.33, 1.36, 1.30]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert pooled_noise([values]).half_width(4) == pytest.approx((high - low) / 2)


def test_no_repeats_no_noise() -> None:
    assert pooled_noise([[1.0], [2.0]]).half_width(1) is None


def test_tau_is_scipys_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(12)
    y = x + 0.5 * rng.standard_normal(12)
    result = transfer_check(x.tolist(), y.tolist())
    assert result.tau == pytest.approx(stats.kendalltau(x, y).statistic)
    assert result.low is not None
    assert result.high is not None
    assert result.tau is not None
    assert result.low < result.tau < result.high


def test_the_intervals_coverage_by_simulation() -> None:
    """For a bivariate normal with correlation r, τ = 2/π · asin r; a 95% interval should hold it in about 95%."""
    rng = np.random.default_rng(1)
    r, n, held = 0.5, 12, 0
    for _ in range(1000):
        x, e = rng.standard_normal((2, n))
        result = transfer_check(x.tolist(), (r * x + math.sqrt(1 - r * r) * e).tolist())
        assert result.low is not None
        assert result.high is not None
        held += result.low < 2 / math.pi * math.asin(r) < result.high
    assert 0.92 < held / 1000 < 0.99


def test_perfect_order_of_few_pairs_proves_little() -> None:
    """By hand, 5 pairs: tanh(atanh 0.9 ∓ 1.96 · √0.437), the upper end being τ itself."""
    result = transfer_check([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert (result.tau, result.low, result.high) == pytest.approx((1.0, 0.1749, 1.0), abs=1e-3)


@pytest.mark.parametrize("n", [5, 6])
def test_of_all_orders_few_are_taken_for_proof(n: int) -> None:
    """Where proxies say nothing every order is as likely: a 95% interval lies above 0 in about 2.5% of them."""
    orders = list(itertools.permutations(range(n)))
    proven = sum(transfer_check(range(n), order).proven for order in orders)
    assert 0 < proven / len(orders) <= 0.03


@pytest.mark.parametrize("n", [0, 1, 4])
def test_too_few_pairs_are_named_plainly(n: int) -> None:
    result = transfer_check([1.0, 2.0, 3.0, 4.0][:n], [1.0, 2.0, 3.0, 4.0][:n])
    assert result.tau is None
    assert f"{n} pair{' is' if n == 1 else 's are'} too few" in result.verdict


def test_a_misleading_proxy_is_called_out() -> None:
    lying = transfer_check([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])
    assert lying.tau == pytest.approx(-1)
    assert "NOT shown to predict" in lying.verdict
    honest = transfer_check(list(range(8)), list(range(8)))
    assert "the proxy predicts" in honest.verdict


def test_constant_values_have_no_tau() -> None:
    assert transfer_check([1.0] * 6, [1, 2, 3, 4, 5, 6]).tau is None


@dataclass(frozen=True)
class Ran:
    """A configuration with its long runs."""

    mean_bpb: float
    seeds: int = 2
    failed: int = 0


# Student's t of one degree of freedom at 97.5% is 12.7062; of two means of 2 runs each the least gap is t · s.
NOISE = pooled_noise([[1.50, 1.50 + 0.01 * math.sqrt(2)]])
LEAST = 0.127062


@pytest.mark.parametrize(
    ("gap", "significance", "proven"),
    [
        (LEAST + 1e-4, Significance.MORE_THAN_NOISE, True),
        (LEAST - 1e-4, Significance.MAY_BE_CHANCE, False),
        (0.0, Significance.MAY_BE_CHANCE, False),
        (-LEAST + 1e-4, Significance.MAY_BE_CHANCE, False),
        (-LEAST - 1e-4, Significance.MORE_THAN_NOISE, False),
    ],
)
def test_a_lead_is_proven_where_it_is_more_than_noise(gap: float, significance: Significance, proven: bool) -> None:
    result = lead(Ran(1.5), Ran(1.5 + gap), NOISE)
    assert result.gap == pytest.approx(gap)
    assert result.least == pytest.approx(LEAST, abs=1e-6)
    assert (result.significance, result.proven) == (significance, proven)


def test_a_lead_without_noise_is_unknown_and_a_tie_without_any_deviation_is_none() -> None:
    unknown = lead(Ran(1.0), Ran(9.0), Noise(None, 0))
    assert (unknown.least, unknown.significance, unknown.proven) == (None, Significance.NOT_KNOWN, False)
    exact = Noise(0.0, 3)
    assert lead(Ran(1.0), Ran(1.0 + 1e-9), exact).proven
    assert lead(Ran(1.0), Ran(1.0), exact).significance is Significance.MAY_BE_CHANCE


def test_a_lead_is_decided_by_a_failure_of_one_alone() -> None:
    for noise in (NOISE, Noise(None, 0)):
        assert lead(Ran(1.7), Ran(1.5, failed=1), noise).proven
        assert not lead(Ran(1.5, failed=1), Ran(1.7), noise).proven
    assert lead(Ran(1.5, failed=1), Ran(1.7, failed=2), NOISE).proven  # both failed: by their means


def test_bpb_with_its_interval_where_that_is_known() -> None:
    assert bpb_text(1.23456, 0.0123) == "1.2346 ± 0.0123"
    assert bpb_text(1.23456, None) == "1.2346"
