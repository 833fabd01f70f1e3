"""What workers have noted of their trials, by kind: one that isn't trusted may note anything, and stops no report."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.study.trials import KINDS


def sound(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials, those with values of a wrong kind as if they had never been noted."""
    return [_mended(t) if _odd(t.user_attrs, t.number) else t for t in trials]


def sound_attributes(attrs: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the attributes of the trial of this number, without those of a wrong kind."""
    odd = _odd(attrs, number)
    return {key: value for key, value in attrs.items() if key not in odd}


def _odd(attrs: Mapping[str, Any], number: int) -> list[str]:
    odd = [key for key, fits in KINDS.items() if key in attrs and not fits(attrs[key])]
    later = "retries" in attrs and "retries" not in odd and attrs["retries"] >= number
    return [*odd, "retries"] if later else odd  # a trial retries an earlier one


def _mended(trial: FrozenTrial) -> FrozenTrial:
    mended = copy.copy(trial)  # the storage keeps this one for all who ask
    mended.user_attrs = sound_attributes(trial.user_attrs, trial.number)
    return mended
