"""The configurations of a race: what identifies each of them, and which proxies may enter."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from search.study.space import params_key
from search.study.trials import (
    BASELINE,
    BUDGET,
    CONFIRMS,
    LR_SCALE,
    SEED,
    attributes_of,
    configuration_key,
    finished,
    label,
    trial_params,
)


@dataclass(frozen=True)
class Entrant:
    """A configuration that is, or may be, in the race: what its runs' attributes say of it."""

    kind: str
    """How it entered: a key of `search.strategy.race.ENTRY_REASONS`."""
    baseline: str | None = None
    number: int | None = None
    """Number of its proxy trial; None for a baseline."""
    lr_scale: float = 1.0
    """Factor on the proxy's learning rate."""
    params: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def key(self) -> str:
        """Its name for people, which no other configuration of the study has."""
        return label(self.baseline, self.number, self.lr_scale)

    def attrs(self, seed: int, budget: str) -> dict[str, Any]:
        """Return the attributes that tell one of its runs from all others."""
        configuration = {BASELINE: self.baseline} if self.baseline else {CONFIRMS: self.number}
        return {**configuration, SEED: seed, BUDGET: budget, LR_SCALE: self.lr_scale}


def entrant_of(run: FrozenTrial) -> Entrant:
    """Return the configuration that a confirmation run belongs to."""
    baseline, number, scale = configuration_key(run)
    kind = attributes_of(run).kind or ("baseline" if baseline else "top")
    return Entrant(kind, baseline, number, scale, trial_params(run))


def proxies_to_confirm(proxies: Sequence[FrozenTrial], *, top: int, drawn: int, seed: int) -> list[FrozenTrial]:
    """Return the proxies to confirm: the best `top` that differ in configuration, and `drawn` others at random.

    Baselines are confirmed in any case and take no place here; nor does a proxy that equals one. The random
    ones are there so that proxy and confirmation are not compared on winners alone.
    """
    distinct = distinct_configurations(proxies)
    best, rest = distinct[:top], distinct[top:]
    return best + random.Random(seed).sample(rest, min(drawn, len(rest)))


def proxies_to_add(
    proxies: Sequence[FrozenTrial], chosen: Sequence[int], *, count: int, seed: int
) -> list[FrozenTrial]:
    """Return the proxies that enter when the race widens: the next best and one at random, alternately.

    `chosen` are the numbers of the proxies that are in the race already.
    """
    rest = [t for t in distinct_configurations(proxies) if t.number not in chosen]
    rng = random.Random(seed)
    added: list[FrozenTrial] = []
    while rest and len(added) < count:
        added.append(rest.pop(0 if len(added) % 2 == 0 else rng.randrange(len(rest))))
    return added


def distinct_configurations(proxies: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return one finished proxy for each configuration, the best first.

    A configuration that was run several times counts by its mean, so that no lucky seed decides.
    """
    ended = finished(list(proxies))
    values: dict[frozenset[Any], list[float]] = {}
    for trial in ended:
        values.setdefault(params_key(trial_params(trial)), []).append(trial.value or 0.0)
    seen = {params_key(trial_params(t)) for t in proxies if attributes_of(t).baseline is not None}
    distinct = []
    for trial in sorted(ended, key=lambda t: (np.mean(values[params_key(trial_params(t))]), t.number)):
        if (key := params_key(trial_params(trial))) not in seen:
            seen.add(key)
            distinct.append(trial)
    return distinct
