from collections import Counter

import numpy as np
import pytest

from search.strategy.hand_made import DEVIATION, KEPT, coordinates_near
from search.strategy.sampler import Sampler
from search.study.space import Parameter, Space

SPACE = Space(
    {
        "max_lr": Parameter(low=1e-4, high=1e-1, log=True),
        "n_layer": Parameter(low=1, high=16),
        "schedule": Parameter(choices=("one_cycle", "cosine", "linear", "warmup_stable_decay")),
        "momentum": Parameter(low=0.0, high=1.0),
    }
)
BY_HAND = {"max_lr": 3.1622776601683795e-3, "n_layer": 8, "schedule": "cosine", "weight_decay": 0.02}
"""A learning rate in the middle of its range, and a setting that isn't searched."""


def near(seed: int) -> list[float]:
    return coordinates_near(SPACE, BY_HAND, np.random.default_rng(seed))


def test_numbers_lie_about_the_hand_made_ones_as_often_as_a_normal_deviate_does() -> None:
    """Kept with probability k, else within one deviation with probability 0.6827 (a normal distribution's)."""
    rates = np.array([near(seed)[0] for seed in range(4000)])
    assert np.mean(np.abs(rates - 0.5) < 1e-9) == pytest.approx(KEPT, abs=0.03)
    assert np.mean(np.abs(rates - 0.5) <= DEVIATION) == pytest.approx(KEPT + (1 - KEPT) * 0.6827, abs=0.03)
    assert rates.min() >= 0
    assert rates.max() < 1


def test_values_without_order_stay_or_are_any() -> None:
    """The second of four stays with probability k + (1 − k) / 4; each other comes with (1 − k) / 4."""
    counts = Counter(int(near(seed)[2] * 4) for seed in range(4000))
    assert counts[1] / 4000 == pytest.approx(KEPT + (1 - KEPT) / 4, abs=0.03)
    for other in (0, 2, 3):
        assert counts[other] / 4000 == pytest.approx((1 - KEPT) / 4, abs=0.03)


def test_settings_that_the_hand_made_one_has_not_are_drawn_evenly() -> None:
    momenta = sorted(near(seed)[3] for seed in range(2000))
    assert np.max(np.abs(np.array(momenta) - np.linspace(0, 1, 2000))) < 0.04  # Kolmogorov's bound at 99.7%


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.7, 230, 330), (1.0, 400, 400)])
def test_the_share_of_first_draws_is_the_one_that_was_asked_for(share: float, least: int, most: int) -> None:
    sampler = Sampler(space=SPACE, fixed={}, kind="tpe", seed=0, startup=9, baselines=(BY_HAND,), near_baselines=share)
    kinds = Counter(sampler.draw([], number, {}).kind for number in range(400))
    assert least <= kinds["baseline"] <= most
    assert kinds["baseline"] + kinds["random"] == 400


@pytest.mark.parametrize("kind", ["random", "qmc"])
def test_samplers_that_learn_nothing_stay_what_they_are(kind: str) -> None:
    sampler = Sampler(space=SPACE, fixed={}, kind=kind, seed=0, startup=9, baselines=(BY_HAND,), near_baselines=1.0)
    assert {sampler.draw([], number, {}).kind for number in range(5)} == {kind}
