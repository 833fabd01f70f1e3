"""What workers have noted of their trials, by kind: one that isn't trusted may note anything, and stops no report."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.common.durations import parse_duration


def _text(value: Any) -> bool:
    return type(value) is str


def _whole(value: Any) -> bool:
    return type(value) is int


def _count(value: Any) -> bool:
    return _whole(value) and 0 <= value < 2**63


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and not math.isnan(value)


def _factor(value: Any) -> bool:
    return _number(value) and value > 0


def _budget(value: Any) -> bool:
    try:
        return _text(value) and parse_duration(value) > 0
    except ValueError:
        return False


def _table(value: Any) -> bool:
    return type(value) is dict


KINDS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("baseline", "worker", "failure", "failure_detail", "kind", "why", "pruner"), _text),
    **dict.fromkeys(("confirms", "seed", "retries", "grid"), _count),
    **dict.fromkeys(("tokens", "n_params"), _whole),
    **dict.fromkeys(("control", "by_hand"), lambda value: type(value) is bool),
    **dict.fromkeys(
        ("total_seconds", "train_seconds", "startup_seconds", "compile_seconds", "evaluate_seconds"), _number
    ),
    **dict.fromkeys(("tokens_per_second", "tokens_per_param"), _number),
    **dict.fromkeys(("claimed_at", "train_bpb", "bytes_per_token", "resumed_at_percent"), _number),
    **dict.fromkeys(("lr_scale", "budget_scale"), _factor),
    **dict.fromkeys(("best_as_bad", "proof"), _number),
    "budget": _budget,
    "provenance": _table,
}
"""Our attributes of a trial, and whether a value is of their kind."""


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
