"""The model of both budgets against a Gaussian process written out plainly, and against functions that are known."""

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from search.strategy import two_budget_model as module
from search.strategy.two_budget_model import OFFSET_VARIANCE, Runs, TwoBudgetModel


def g(points: np.ndarray) -> np.ndarray:
    return np.asarray(((points - 0.4) ** 2) @ np.array([4.0, 2.0, 0.3]))


def runs(short: int = 40, long: int = 15, noise: float = 0.02, seed: int = 0) -> Runs:
    """Long runs are g, short ones 2 above it and misled by the first setting."""
    random = np.random.default_rng(seed)
    points = random.random((short + long, 3))
    points[short:] = points[:long]
    is_long = np.arange(short + long) >= short
    bpb = g(points) + np.where(is_long, 0.0, 2 + 0.8 * points[:, 0]) + random.normal(0, noise, short + long)
    return Runs(points=points, long=is_long, bpb=bpb)


def test_the_gradient_is_that_of_the_posterior() -> None:
    data = runs()
    levels, spread = module._levels(data)
    mean, deviation = module._prior(3)
    theta = mean + np.random.default_rng(1).normal(0, 0.3, len(mean))
    arguments = (
        data, module._scaled(data, levels, spread), module._squares(data.points, data.points), mean, deviation
    )  # fmt: skip
    _, gradient = module._minus_log_posterior(theta, *arguments)
    numeric = approx_fprime(theta, lambda t: module._minus_log_posterior(t, *arguments)[0], 1e-6)
    assert gradient == pytest.approx(numeric, abs=2e-3)


def test_predictions_are_those_of_the_conditional_normal_distribution() -> None:
    """The textbook's formulas over the joint covariance of runs and new points, entry by entry."""
    data = runs(short=6, long=3)
    theta = module._prior(3)[0]
    model = TwoBudgetModel(data, theta, (0.0, 0.0), 1.0)
    scale, ratio, own, noise_short, noise_long = (math.exp(t) for t in theta[3:])
    new = np.random.default_rng(2).random((4, 3))
    everything = [(p, bool(long)) for p, long in zip(data.points, data.long, strict=True)] + [(p, True) for p in new]

    def covariance(one: tuple[np.ndarray, bool], other: tuple[np.ndarray, bool]) -> float:
        r = math.sqrt(5 * sum(((a - b) / math.exp(t)) ** 2 for a, b, t in zip(one[0], other[0], theta, strict=False)))
        matern = (1 + r + r * r / 3) * math.exp(-r)
        shared = scale**2 * (1 if one[1] else ratio) * (1 if other[1] else ratio)
        both_short = own**2 * (not one[1] and not other[1])
        return (shared + both_short) * matern + OFFSET_VARIANCE * (one[1] == other[1])

    full = np.array([[covariance(a, b) for b in everything] for a in everything])
    noise = np.array([noise_long**2 if long else noise_short**2 for long in data.long]) + module.JITTER
    known, cross = full[:9, :9] + np.diag(noise), full[:9, 9:]
    mean, deviation = model.predict(new)
    assert mean == pytest.approx(cross.T @ np.linalg.solve(known, data.bpb))
    variance = np.diag(full[9:, 9:] - cross.T @ np.linalg.solve(known, cross))
    assert deviation == pytest.approx(np.sqrt(variance))


def test_a_known_function_is_found_through_a_misleading_proxy() -> None:
    """Where proxies reward another first setting, a few long runs put the optimum right."""
    data = runs(short=60, long=20)
    model, grid = TwoBudgetModel.fit(data), np.random.default_rng(3).random((2000, 3))
    mean, deviation = model.predict(grid)
    assert np.corrcoef(mean, g(grid))[0, 1] > 0.97
    assert np.mean(np.abs(mean - g(grid)) < 1.645 * deviation) > 0.8
    best = grid[np.argmin(mean)]
    assert g(best[None])[0] < 0.1
    misled = data.points[~data.long][np.argmin(data.bpb[~data.long])]
    assert best[0] > misled[0]


def test_believing_is_having_seen_what_is_predicted() -> None:
    model = TwoBudgetModel.fit(runs())
    new = np.random.default_rng(4).random((3, 3))
    mean, deviation = model.predict(new)
    later = model.believing(new, np.ones(3, dtype=bool))
    assert later.predict(new)[0] == pytest.approx(mean, abs=1e-6)
    assert (later.predict(new)[1] < deviation).all()
    assert model.believing(np.empty((0, 3)), np.empty(0, dtype=bool)) is model
