"""Seconds that a confirmation run counts towards its limits, whether it reported them or not."""

from datetime import datetime, timedelta

from optuna.trial import FrozenTrial, TrialState, create_trial

from search.study.cost import ran_seconds


def ended(seconds: float | None, **attrs: float) -> FrozenTrial:
    trial = create_trial(state=TrialState.FAIL, user_attrs=attrs)
    trial.datetime_complete = datetime(2025, 1, 1)
    trial.datetime_start = None if seconds is None else datetime(2025, 1, 1) - timedelta(seconds=seconds)
    return trial


def test_a_lost_run_counts_from_its_start_to_its_end() -> None:
    assert ran_seconds(ended(1500)) == 1500
    assert ran_seconds(ended(1500, total_seconds=1400.0)) == 1400
    assert ran_seconds(ended(None)) == 0
