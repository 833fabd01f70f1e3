"""Every figure by its name: what it shows, what it needs, and the function of a study's facts that draws it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search.show.correlation import draw_correlation
from search.show.facts import Facts


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure."""

    title: str
    """What it shows, as its heading."""
    draw: Callable[[Facts], Any]
    """Returns plotly's figure, or None where there is nothing to draw yet."""
    needs: str
    """What a study must have for it, in words: "3 finished proxies"."""


PICTURES: Mapping[str, Picture] = {
    "correlation": Picture(
        title="How well the loss so far foretells the final one",
        draw=draw_correlation,
        needs="4 finished proxies",
    ),
}
