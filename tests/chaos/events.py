"""What is done to a study, and when: drawn from the seed before anything runs."""

import random
from dataclasses import dataclass

KINDS = ("kill", "stop", "restart", "cut")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is run, and how much is done to it."""

    workers: int
    trials: int
    kills: int
    stops: int
    restarts: int
    cuts: int

    def count(self, kind: str) -> int:
        """Return how many events of a kind there are."""
        return int(getattr(self, f"{kind}s"))


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that goes wrong once so many trials have ended."""

    ended: int
    kind: str
    way: int
    """Which of its ways: how the server is restarted, whether the network is silent or refuses."""


def events(sizes: Sizes, seed: int) -> list[Event]:
    """Return what is done, in order; the last tenth of the kills meets the confirmation runs."""
    draw = random.Random(seed)
    found = []
    for kind in KINDS:
        for way in range(sizes.count(kind)):
            late = kind == "kill" and way >= 0.9 * sizes.kills
            low, high = (1.0, 1.005) if late else (0.02, 0.9)
            found.append(Event(ended=int(sizes.trials * draw.uniform(low, high)), kind=kind, way=way))
    return sorted(found, key=lambda e: (e.ended, KINDS.index(e.kind), e.way))
