"""What is still to come, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from search.analysis.forecast import RemainingWork, finish_seconds, forecast, remaining_work
from tests.search.show.given import having, plan, run, snapshot, worker

COMPLETE, PRUNED, RUNNING, WAITING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.WAITING


def test_a_schedule_by_hand() -> None:
    """Until 100 the second worker runs two of 50; the third ends at 150. Three of 30 on two take 60; pairs 20."""
    work = RemainingWork(under_way={"a": 100}, now=[50, 50, 50], later=[[30, 30, 30]], pairs=[10, 10, 10])
    assert work.span(["a", "b"]) == 150 + 60 + 20
    assert work.span(["a"]) == work.seconds == 370
    assert work.span([]) is None


def test_a_run_whose_worker_is_gone_is_taken_over() -> None:
    assert RemainingWork(under_way={"gone": 100, "a": 40}).span(["a"]) == 140


@given(st.lists(st.floats(0, 1e4), max_size=30), st.integers(1, 9))
def test_a_schedule_keeps_grahams_bounds(runs: list[float], workers: int) -> None:
    """No better than all workers busy to the end, no worse than that and one more run."""
    end = finish_seconds([0.0] * workers, runs)
    assert end >= max(sum(runs) / workers, max(runs, default=0.0)) * (1 - 1e-9)
    assert end <= (sum(runs) / workers + max(runs, default=0.0)) * (1 + 1e-9)


def halfway() -> list[FrozenTrial]:
    """Of four proxies one complete in 400 s, one pruned after 200 s, each with 40 s overhead; one is at 50%."""
    return [
        run(0, COMPLETE, 1.5, 100, train_seconds=360.0, total_seconds=400.0, worker="a"),
        run(1, PRUNED, 1.9, 40, train_seconds=160.0, total_seconds=200.0, worker="b"),
        run(2, RUNNING, None, 40, worker="a"),
    ]


def test_a_study_by_hand() -> None:
    """Left of the third: 60% of 400 s; the fourth takes 300 s as they do on average; two long runs, one by one."""
    ahead = forecast(snapshot(plan(), halfway(), (), [worker("a"), worker("b")], spent=1.0))
    assert (ahead.proxies, ahead.confirmations, ahead.capped) == (1, 2, False)
    assert ahead.left_seconds == pytest.approx(240 + 300 + 2 * 1800)
    assert ahead.eta_seconds == pytest.approx(300 + 1800 + 1800)
    assert ahead.spent_seconds == 7200
    assert ahead.usd_projected == pytest.approx(1.0 + 3900 / 3600 * 2 * 0.5)


def test_a_cap_ends_it_sooner() -> None:
    ahead = forecast(snapshot(plan(), halfway(), (), [worker("a"), worker("b")], spent=1.0, cap=1.25))
    assert ahead.capped
    assert ahead.usd_projected == 1.25
    assert ahead.eta_seconds == pytest.approx(0.25 / (2 * 0.5) * 3600)
    assert not forecast(snapshot(plan(), halfway(), (), [worker("a")], spent=1.0, cap=9)).capped


def test_without_workers_the_cost_is_known_but_not_the_time() -> None:
    ahead = forecast(snapshot(plan(), halfway(), (), [worker("a", state="dead", paid=1800)], spent=1.0))
    assert ahead.eta_seconds is None
    assert ahead.usd_projected == pytest.approx(1.0 + ahead.left_seconds / 3600 * 0.5)
    assert ahead.spent_seconds == 1800 + 200  # 200 of them reported by b, which was never registered


def test_a_race_that_is_over_has_nothing_left() -> None:
    ended = [run(i, COMPLETE, 1.5 + i, 100) for i in range(4)]
    ahead = forecast(snapshot(plan(), ended, [run(0, COMPLETE, 1.4, 100, confirms=0, seed=100)], race_over=True))
    assert ahead.over
    assert (ahead.proxies, ahead.confirmations, ahead.left_seconds) == (0, 0, 0.0)


def test_a_race_under_way() -> None:
    """Three candidates at two runs on average are six: three have been, one is under way, two are left."""
    of = plan(confirm="top = 3\nrandom = 0\nseeds = 2")
    ended = [run(i, COMPLETE, 1.5 + i, 100) for i in range(4)]
    long = [run(i, COMPLETE, 1.4 + i, 100, confirms=i, seed=100, total_seconds=2000.0) for i in range(3)]
    long.append(run(3, RUNNING, None, 50, confirms=0, seed=101, worker="a"))
    ahead = forecast(snapshot(of, ended, long, [worker("a")]))
    assert ahead.confirmations == 2
    assert ahead.left_seconds == pytest.approx(900 + 2 * 2000)


def test_rungs_halve_and_wait_for_one_another() -> None:
    """Four climb: four runs of 10 minutes, two of 15, one... two at least of 30; then as many seeds again."""
    of = plan(confirm='top = 4\nrandom = 0\nseeds = 2\nrungs = ["10m", "15m"]')
    work, _, runs = remaining_work(snapshot(of, [run(i, COMPLETE, 1.5 + i, 100) for i in range(4)]))
    assert [list(group) for group in work.later] == [[600.0] * 4, [900.0] * 2, [1800.0] * 2]
    assert list(work.pairs) == [1800.0] * 2
    assert runs == 10


def test_what_was_lost_is_repeated_and_counts_once() -> None:
    proxies = [run(0, TrialState.FAIL, None, 0), run(1, WAITING, None, 0, retries=0)]
    given = snapshot(plan(trials=1), proxies)
    assert forecast(given).proxies == 1
    assert forecast(having(given, affordable=0)).confirmations == 0
