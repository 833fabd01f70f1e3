"""Draws near hand-made configurations: what a person found is where a search of few trials should begin.

The prior of PriorBand (Mallik et al., NeurIPS 2023), for a start-up phase alone: a sampler that learns comes to the
neighbourhood by itself if it is good, and away from it if it isn't.
"""

import numpy as np

from search.strategy.encoding import Encoding
from search.study.space import Params, Space

KEPT, DEVIATION = 0.3, 0.25
"""Chance that a setting stays, and how far the others move, in shares of their ranges."""


def coordinates_near(space: Space, params: Params, rng: np.random.Generator) -> list[float]:
    """Return coordinates in [0, 1), for each setting of a space, of a configuration near this one.

    A setting stays with probability `KEPT`; a number moves by a normal deviate, reflected at both ends of its range; a
    value without order is drawn anew, as are settings that this configuration hasn't, or has outside the space.
    """
    encoding = Encoding(space)
    searched = {name: value for name, value in params.items() if name in space.parameters}
    places = encoding.places({name: value for name, value in searched.items() if space.parameters[name].holds(value)})
    return [
        _moved(places[name], encoding.is_ordered(name), rng) if name in places else float(rng.random())
        for name in space.parameters
    ]


def _moved(place: float, ordered: bool, rng: np.random.Generator) -> float:
    if rng.random() < KEPT:
        return place
    if not ordered:
        return float(rng.random())
    moved = abs(place + DEVIATION * float(rng.standard_normal())) % 2
    return min(moved, 2 - moved, 1 - 1e-9)
