"""Trial attributes of the wrong type left out: an untrusted worker may write any, and none may break a report."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial

from search.study.trials import VALIDATORS


def with_valid_attributes(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials without those of their attributes whose values have the wrong type."""
    return [_cleaned(t) if _invalid_keys(t.user_attrs, t.number) else t for t in trials]


def valid_attributes(attrs: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Return the attributes of the trial of this number, without those whose values have the wrong type."""
    invalid = _invalid_keys(attrs, number)
    return {key: value for key, value in attrs.items() if key not in invalid}


def _invalid_keys(attrs: Mapping[str, Any], number: int) -> list[str]:
    invalid = [key for key, is_valid in VALIDATORS.items() if key in attrs and not is_valid(attrs[key])]
    later = "retries" in attrs and "retries" not in invalid and attrs["retries"] >= number
    return [*invalid, "retries"] if later else invalid  # a trial can only retry an earlier one


def _cleaned(trial: FrozenTrial) -> FrozenTrial:
    cleaned = copy.copy(trial)  # the trial itself is in the storage's cache
    cleaned.user_attrs = valid_attributes(trial.user_attrs, trial.number)
    return cleaned
