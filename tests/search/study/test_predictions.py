"""Stored predictions: read back as they were, and nothing of another form."""

from typing import Any

import pytest

from search.study.predictions import PREDICTIONS, Prediction, Predictions, stored_predictions

SOME = Predictions(by_candidate={"trial 7": Prediction(bpb=1.4, half_width=0.02, long_runs=5)}, proxies=46, long_runs=5)


def test_predictions_are_read_back_as_they_were_stored() -> None:
    assert stored_predictions({PREDICTIONS: SOME.table()}) == SOME
    assert stored_predictions({}) == Predictions()


@pytest.mark.parametrize("row", [None, 3, [], [1.0], ["1", 2, 3], [1.0, float("nan"), 3], [1e305, 1, 1], {"bpb": 1}])
def test_rows_of_another_form_are_left_out(row: Any) -> None:
    table = SOME.table()
    table["by_candidate"]["trial 8"] = row
    assert stored_predictions({PREDICTIONS: table}) == SOME


@pytest.mark.parametrize("stored", [None, 3, "text", [], {"by_candidate": 4}, {"proxies": -1, "long_runs": "x"}])
def test_tables_of_another_form_hold_nothing(stored: Any) -> None:
    assert stored_predictions({PREDICTIONS: stored}) == Predictions()


def test_an_interval_holds_what_is_no_further_away_than_its_half_width() -> None:
    prediction = SOME.by_candidate["trial 7"]
    assert [prediction.holds(bpb) for bpb in (1.379, 1.381, 1.419, 1.421)] == [False, True, True, False]
