"""Pauses between attempts to reach a server that is away."""

import math
import time
from collections.abc import Callable, Iterator


def backoff(
    first_seconds: float,
    longest_seconds: float,
    most_seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[float]:
    """Return the pauses between attempts in seconds, each twice the one before, up to the longest.

    They end once `most_seconds` have passed since this call: then it is time to give up.
    """
    return _pauses(first_seconds, longest_seconds, clock() + most_seconds, clock)


def _pauses(pause: float, longest: float, until: float, clock: Callable[[], float]) -> Iterator[float]:
    while clock() < until:
        yield pause
        pause = min(2 * pause, longest)
