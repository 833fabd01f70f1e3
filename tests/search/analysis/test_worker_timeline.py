"""Workers over time, and what they cost."""

import math
from dataclasses import replace

import pytest

from search.analysis.anonymize import anonymous_caveats, anonymous_study_file
from search.analysis.worker_timeline import trial_spans, worker_spans, zone_shift
from search.show.figures.costs import KINDS, costs
from tests.search.show.studied import EPOCH, entry, made, params, plan, searched, snapshot_of

PLAN = plan()


def test_all_that_is_paid_is_spent_on_something() -> None:
    proxies, runs = searched(PLAN, 24)
    spending = costs(snapshot_of(PLAN, proxies, runs, workers=[entry(minutes=1000)]))
    assert spending.total_hours == pytest.approx(1000 / 60)
    assert spending.total_usd == pytest.approx(10.0)
    ended = [t for t in proxies if t.user_attrs.get("failure") is None]
    by_hand = (330 * len(ended), 1700 * len(runs), 30 * len(ended) + 100 * len(runs))
    assert spending.hours[:3] == pytest.approx([seconds / 3600 for seconds in by_hand])
    assert len(spending.hours) == len(KINDS)


@pytest.mark.parametrize("hours", [-8, 0, 5.5, 9])
def test_a_machines_time_zone_is_found(hours: float) -> None:
    trial = made(PLAN, 0, 1.5, params(0), minutes=(60 * hours + 1, 60 * hours + 7))
    assert zone_shift(entry(minutes=60), [trial]) == -3600 * hours
    (span,) = trial_spans(snapshot_of(PLAN, [trial], workers=[entry(minutes=60)]))
    assert (span.start, span.end) == (EPOCH + 60, EPOCH + 420)


def test_a_worker_is_called_by_its_number_and_its_device_where_they_differ() -> None:
    two = [entry("host-a/1"), entry("host-b/2")]
    assert [p.worker for p in worker_spans(snapshot_of(PLAN, workers=two))] == ["worker 1", "worker 2"]
    two[1] = replace(two[1], device="Other")
    assert [p.worker for p in worker_spans(snapshot_of(PLAN, workers=two))] == ["worker 1 (A GPU)", "worker 2 (Other)"]


def test_no_host_and_no_folder_is_shown() -> None:
    gpus = [{"device": d, "host": h, "torch": "2"} for d, h in (("A", "host-a"), ("B", "host-b"))]
    proxies = [
        made(PLAN, i, 1.5 + i / 9, params(i), provenance=gpus[i % 2], worker=f"host-{'ab'[i % 2]}/{i % 2}")
        for i in range(6)
    ]
    snapshot = snapshot_of(PLAN, proxies)
    (sentence,) = [c.sentence for c in anonymous_caveats(snapshot) if c.name == "hardware"]
    assert "host-" not in sentence
    assert "A (3 runs by worker 1), B (3 runs by worker 2)" in sentence
    assert 'source = "text.parquet"' in anonymous_study_file(PLAN)
    assert "somebody" not in anonymous_study_file(PLAN)
    assert math.isclose(costs(snapshot).total_usd, 6 * 0.1 * 0.6)  # an unregistered worker counts for its trials
