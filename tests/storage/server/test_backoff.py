"""Pauses between attempts, by hand."""

from itertools import islice

from storage.server.backoff import backoff


def test_each_pause_is_twice_the_one_before_up_to_the_longest() -> None:
    assert list(islice(backoff(0.5, 3.0), 5)) == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_time_counts_from_the_first_attempt_not_from_the_first_failure() -> None:
    now = 100.0
    pauses = backoff(1.0, 30.0, 5.0, clock=lambda: now)
    now = 104.9
    assert next(pauses) == 1.0
    now = 105.0
    assert next(pauses, None) is None
