"""The load benchmark in small: both clients do their work, and its figures are those of a hand-worked case."""

import contextlib
from typing import Any

import pytest

from search.study.plan import Plan
from storage.server.database import MOST_CONNECTIONS
from tests.benchmarks.load import ShortWindowError, digest, measure_all, table
from tests.benchmarks.load_study import Options, finished_trials


def line(kind: str, at: float, wall: float, cpu: float, total_cpu: float) -> dict[str, Any]:
    return {"kind": kind, "at": at, "wall": wall, "cpu": cpu, "total_cpu": total_cpu}


def test_a_trials_calls_are_an_ask_twenty_reports_and_a_tell() -> None:
    """0.4 + 20 · 0.02 + 0.1 = 0.9 s of calls, 0.2 + 20 · 0.01 + 0.05 = 0.45 s of processor; 3 s of it in all."""
    tape = [line("open", 1, 5.0, 4.0, 4.0), line("ask", 2, 9.0, 9.0, 4.5)]  # before the window
    tape += [line("ask", 10, 0.3, 0.2, 5.0), line("report", 11, 0.01, 0.005, 6.0)]
    other = [line("open", 1, 7.0, 4.0, 4.0), line("ask", 12, 0.5, 0.2, 5.0)]
    other += [line("report", 13, 0.03, 0.015, 6.5), line("tell", 14, 0.1, 0.05, 7.0)]
    found = digest([tape, other], 9.0, 15.0)
    assert found["database_seconds"] == pytest.approx(0.9)
    assert found["call_cpu"] == pytest.approx(0.45)
    assert found["client_cpu"] == pytest.approx(3.0)
    assert found["open"] == pytest.approx(6.0)
    assert (found["ask"]["n"], found["ask"]["p50"], found["ask"]["p95"]) == (2, pytest.approx(0.4), pytest.approx(0.49))


def test_a_window_too_short_is_refused() -> None:
    with pytest.raises(ShortWindowError, match="no ask fell into the window"):
        digest([[line("open", 1, 5.0, 4.0, 4.0)]], 9.0, 15.0)


def test_the_trials_beforehand_are_like_real_ones() -> None:
    options = Options(workers=[2], trial_seconds=0.5, window_seconds=1.5, finished=30)
    plan: Plan = options.plan
    ours, bare = (finished_trials(plan, 30, ours=kind) for kind in (True, False))
    assert [t.params for t in ours] == [t.params for t in bare]
    assert {t.state.name for t in ours} == {"COMPLETE", "PRUNED"}
    for trial in ours:
        assert plan.space.names({**plan.fixed(), **trial.params}) == trial.params.keys()
        points = [p for p in plan.report_points() if p <= (trial.last_step or 0)]
        assert sorted(trial.intermediate_values) == points
        assert trial.state.name == "PRUNED" or len(points) == 20


def measured() -> list[dict[str, Any]]:
    """Measure for as long as it takes this machine to end a trial or two."""
    for seconds in (2.0, 8.0, 32.0, 128.0):
        options = Options(workers=[2], trial_seconds=0.5, window_seconds=seconds, finished=30)
        with contextlib.suppress(ShortWindowError):
            found = measure_all(options, ["bare", "ours"], fsync="off")
            if all(f["ask"]["n"] >= 2 and f["report"]["n"] >= 40 and f["tell"]["n"] >= 2 for f in found):
                return found
    pytest.fail("in 128 s no two trials have ended")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_both_clients_are_measured_and_ours_keeps_to_its_connections() -> None:
    bare, ours = measured()
    for found in (bare, ours):
        assert 0 < found["call_cpu"] <= found["client_cpu"]
        assert found["server_cpu"] > 0
        assert found["commits"] >= found["report"]["n"]
    assert 2 <= ours["connections"] <= 2 * MOST_CONNECTIONS
    assert len(table([bare, ours]).splitlines()) == 4
