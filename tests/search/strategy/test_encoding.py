"""Configurations as points: each coordinate by hand, and back again by the space's own questions."""

import math

import numpy as np
import pytest

from search.strategy.encoding import ABSENT, Encoding
from search.strategy.quasi_random import PointSuggester
from search.study.space import Parameter, Space

SPACE = Space(
    {
        "max_lr": Parameter(low=1e-4, high=1e-2, log=True),
        "n_layer": Parameter(low=2, high=10, step=2),
        "batch_size": Parameter(choices=(32, 8, 16)),
        "optimizer": Parameter(choices=("adamw", "muon")),
        "momentum": Parameter(low=0.8, high=1.0, when={"optimizer": "muon"}),
    }
)
ADAMW = {"max_lr": 1e-3, "n_layer": 4, "batch_size": 16, "optimizer": "adamw"}
MUON = {"max_lr": 1e-2, "n_layer": 10, "batch_size": 8, "optimizer": "muon", "momentum": 0.85}


def test_coordinates_are_shares_of_ranges_places_in_order_and_flags() -> None:
    root = math.sqrt(0.5)
    points = Encoding(SPACE).points([ADAMW, MUON])
    assert points[0] == pytest.approx([0.5, 0.25, 0.5, root, 0, ABSENT, 0])
    assert points[1] == pytest.approx([1, 1, 0, 0, root, 0.25, 1])


def test_two_values_of_a_list_are_as_far_apart_as_the_ends_of_a_range() -> None:
    one, other = Encoding(SPACE).points([ADAMW, {**ADAMW, "optimizer": "muon", "momentum": 0.9}])[:, 3:5]
    assert np.linalg.norm(one - other) == pytest.approx(1)


@pytest.mark.parametrize("params", [ADAMW, MUON])
def test_places_are_read_back_as_the_configuration(params: dict[str, object]) -> None:
    places = Encoding(SPACE).places(params)
    assert all(0 <= place < 1 for place in places.values())
    suggested = SPACE.suggest(PointSuggester(places, {}), {})
    assert suggested.keys() == params.keys()
    assert all(suggested[name] == pytest.approx(value) for name, value in params.items())


def test_no_configurations_have_no_points() -> None:
    assert Encoding(SPACE).points([]).shape == (0, 7)
