"""The stated figure: shrinkage by hand, against numerical integration, and over simulated races."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import t

from search.common.student import student_cdf
from search.study.estimate import _ANGLE, Estimate, _student_table, estimates, shrunk
from tests.search.winner_sim import Cell, simulate

GROUPS = [[1.40, 1.44], [1.50], [1.47, 1.52], [1.61], [1.55]]


def test_shrinkage_by_hand() -> None:
    """τ = σ = 1; means 0 of one run and 3 of two: k = 1/2 and 2/3, μ = (0/2 + 3·2/3) / (1/2 + 2/3) = 12/7."""
    middles, deviations = shrunk(np.array([0.0, 3.0]), np.array([1.0, 2.0]), 1.0, 1.0)
    assert middles == pytest.approx([6 / 7, 2 + 4 / 7])
    centre = 1 / (1 / 2 + 2 / 3)
    assert deviations**2 == pytest.approx([1 / 2 + centre / 4, 1 / 3 + centre / 9])


def test_it_is_the_posterior_by_numerical_integration() -> None:
    """Weights over a grid of log τ and log σ by the definition of the model, the population's mean integrated."""
    means, runs = np.array([np.mean(g) for g in GROUPS]), np.array([len(g) for g in GROUPS], dtype=float)
    within = sum(float(((np.array(g) - np.mean(g)) ** 2).sum()) for g in GROUPS)
    first, outside, below, total = estimates(GROUPS)[0], np.zeros(2), 0.0, 0.0
    assert first.half_width is not None
    for sigma, tau in itertools.product(np.geomspace(2e-3, 3, 50), np.geomspace(1e-3, 100, 60)):
        variance = tau**2 + sigma**2 / runs
        centre = (means / variance).sum() / (1 / variance).sum()
        log_weight = -0.5 * float(((means - centre) ** 2 / variance + np.log(variance)).sum())
        log_weight -= 0.5 * math.log((1 / variance).sum())
        log_weight -= float((runs - 1).sum()) * math.log(sigma) + within / (2 * sigma**2) + 0.5 * math.log(sigma)
        weight = math.exp(log_weight) * sigma * tau  # even steps of logarithms
        middles, deviations = shrunk(means, runs, float(tau), float(sigma))
        posterior = NormalDist(float(middles[0]), float(deviations[0]))
        low, middle, high = (posterior.cdf(first.bpb + x * first.half_width) for x in (-1, 0, 1))
        total, below = total + weight, below + weight * middle
        outside += weight * np.array([low, 1 - high])
    assert below / total == pytest.approx(0.5, abs=0.003)
    assert max(outside / total) == pytest.approx(0.025, abs=0.002)


def test_student_table_with_broken_degrees() -> None:
    table = _student_table(4.5)
    for x in (-40.0, -2.0, 0.0, 0.3, 5.0):
        assert np.interp(np.arcsinh(x), _ANGLE, table) == pytest.approx(student_cdf(4.5, x), abs=2e-5)


def test_the_best_is_shrunk_upwards_and_the_worst_downwards() -> None:
    stated = estimates(GROUPS)
    assert stated[0].bpb > 1.42
    assert stated[3].bpb < 1.61
    for estimate in stated:
        assert estimate.half_width is not None
        assert estimate.new_run_half_width is not None
        assert estimate.new_run_half_width > estimate.half_width


def test_units_and_origin_do_not_matter() -> None:
    first, scaled = estimates(GROUPS)[0], estimates([[7 + 100 * x for x in g] for g in GROUPS])[0]
    assert scaled.bpb == pytest.approx(7 + 100 * first.bpb)
    assert scaled.half_width == pytest.approx(100 * (first.half_width or 0), rel=1e-4)


def test_differences_far_above_noise_leave_the_means() -> None:
    stated = estimates([[1.0, 1.0002], [2.0, 2.0001], [3.0], [4.0, 4.0001], [5.0]])
    assert stated[0].bpb == pytest.approx(1.0001, abs=2e-6)


def test_with_two_configurations_it_is_the_mean_with_students_t() -> None:
    first, second = estimates([[1.50, 1.52], [1.60]])
    half = t.ppf(0.975, 1) * math.sqrt(2e-4)
    assert (first.bpb, second.bpb) == pytest.approx((1.51, 1.60))
    assert first.half_width == pytest.approx(half / math.sqrt(2))
    assert second.new_run_half_width == pytest.approx(half * math.sqrt(2))


def test_without_a_repeated_seed_there_is_no_interval() -> None:
    assert estimates([[1.5], [1.6], [1.7]])[1] == Estimate(1.6, None, None)
    assert estimates([]) == []


def test_runs_that_agree_exactly_are_stated_as_they_are() -> None:
    assert estimates([[1.5, 1.5]] * 4)[2].bpb == pytest.approx(1.5)


def test_winners_are_covered_where_noise_is_as_large_as_the_differences() -> None:
    """In 60 simulated races intervals cover ≥ .85 (3.5 standard errors below .95); the means were 0.6σ too good."""
    figures = simulate(Cell(0.9, 1.0), 60)
    covered, inside, error, width = figures["now"].mean(axis=0)
    assert min(covered, inside) >= 0.85
    assert abs(error) <= 0.25
    assert figures["before"][:, 2].mean() < -0.35
    assert width < figures["before"][:, 3].mean()
