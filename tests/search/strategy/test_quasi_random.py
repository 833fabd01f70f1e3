import math

import numpy as np
import pytest
from scipy.stats import kstest

from search.strategy.quasi_random import PointSuggester, seed_from, sobol
from search.study.space import Parameter, Space

SPACE = Space(
    {
        "max_lr": Parameter(low=1e-4, high=1e-1, log=True),
        "weight_decay": Parameter(low=0.0, high=0.5),
        "n_layer": Parameter(low=2, high=10, step=4),
        "n_head": Parameter(low=1, high=8, log=True),
        "optimizer": Parameter(choices=("adamw", "muon")),
        "momentum": Parameter(low=0.8, high=0.99, when={"optimizer": "muon"}),
    }
)


def place(*point: float) -> dict[str, object]:
    return SPACE.suggest(PointSuggester(dict(zip(SPACE.parameters, point, strict=True)), {}), {})


def test_points_by_hand() -> None:
    low, high = place(0, 0, 0, 0, 0, 0), place(*[1 - 1e-12] * 6)
    assert low == {"max_lr": 1e-4, "weight_decay": 0, "n_layer": 2, "n_head": 1, "optimizer": "adamw"}
    assert high == pytest.approx(
        {"max_lr": 0.1, "weight_decay": 0.5, "n_layer": 10, "n_head": 8, "optimizer": "muon", "momentum": 0.99}
    )
    middle = place(1 / 3, 0.5, 0.5, 0.5, 0.5, 0.5)
    assert middle["max_lr"] == pytest.approx(1e-3)
    assert (middle["n_layer"], middle["n_head"]) == (6, round(math.sqrt(0.5 * 8.5)))


def test_what_is_given_stays() -> None:
    placed = PointSuggester(dict.fromkeys(SPACE.parameters, 0.0), {"optimizer": "muon", "n_layer": 6})
    assert SPACE.suggest(placed, {}).items() >= {"optimizer": "muon", "n_layer": 6, "momentum": 0.8}.items()


def test_uniform_coordinates_are_spread_as_the_ranges_say() -> None:
    rng = np.random.default_rng(0)
    drawn = [place(*rng.random(6)) for _ in range(2000)]
    logs = [math.log10(float(str(p["max_lr"]))) for p in drawn]
    assert kstest(logs, "uniform", args=(-4, 3)).pvalue > 0.01
    for name, values in (("n_layer", (2, 6, 10)), ("optimizer", ("adamw", "muon"))):
        counts = [sum(p[name] == v for p in drawn) for v in values]
        assert all(abs(c - 2000 / len(values)) < 100 for c in counts)


@pytest.mark.parametrize("seed", range(3))
def test_a_sobol_sequence_from_its_indices_fills_every_interval_once(seed: int) -> None:
    points = np.array([sobol(5, seed, index) for index in range(32)])
    for column in points.T:
        assert sorted((column * 32).astype(int)) == list(range(32))
    assert sobol(5, seed, 7) == sobol(5, seed, 7)
    assert sobol(5, seed, 7) != sobol(5, seed + 1, 7)


def test_seeds_tell_all_their_parts_apart() -> None:
    seeds = [seed_from(a, b, c) for a in range(20) for b in range(20) for c in (-1, 0, 1)]
    assert len(set(seeds)) == len(seeds)
    assert seed_from(1, 2) == seed_from(1, 2)
