"""Hours and dollars of [proxy]: by hand, raced for by threads, and over when nothing more fits."""

import random
import threading
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from search.analysis.forecast import forecast, proxies_to_come
from search.analysis.snapshot import read
from search.common.errors import StudyFileError
from search.show.status.panels import ended_of_all
from search.show.status.race_table import waits_for
from search.show.status.study_overview import study_overview
from search.strategy.promotion import promote
from search.study.cost import Allowance, affordable_runs, proxies_left, registry_of
from search.study.plan import Plan
from search.study.study import LinkedStudy, load_study, open_study
from search.worker.cost_guard import room_for_proxy
from storage.queue.trial_queue import Claim, NoClaim
from storage.server.database import Database, connect
from tests.search import raced
from tests.search.raced import in_threads

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
SIX_MINUTES = 360.0


def limited(limit: str, *, trials: int = 1000, confirm: str = "top = 1\nrandom = 0") -> Plan:
    """A study of 6-minute proxies, one of them a baseline, at $0.5 an hour."""
    text = raced.TEXT.format(confirm=confirm, baseline=0.1, proxy=limit, pruner="")
    return Plan.parse(text.replace("trials = 12", f"trials = {trials}"), name="limited", origin="a test")


def take(study: LinkedStudy, worker: str = "one") -> Claim | NoClaim:
    """Claim a proxy as a worker does."""
    return study.proxy_queue.claim(worker, study.plan.proxy.trials, room=partial(room_for_proxy, study))


def end(study: LinkedStudy, claim: Claim, seconds: float, overhead: float = 0.0) -> None:
    storage = study.database.storage
    storage.set_trial_user_attr(claim.trial_id, "train_seconds", seconds)
    storage.set_trial_user_attr(claim.trial_id, "total_seconds", seconds + overhead)
    assert study.proxy_queue.finish(claim.trial_id, TrialState.COMPLETE, 1.0 + claim.number / 100)


def claimed(study: LinkedStudy) -> Claim:
    claim = take(study)
    assert isinstance(claim, Claim)
    return claim


@pytest.mark.parametrize("limit", ["max_hours = 0.35", "max_usd = 0.175"])
def test_time_that_pruning_saves_goes_into_further_proxies(limit: str, database: Database) -> None:
    """21 minutes: three whole runs of 6; after one of 1.5 minutes and two whole ones a fourth has its 6, and no fifth.

    $0.175 are 21 minutes at $0.50 an hour.
    """
    study = open_study(database, limited(limit))
    first, second, third = claimed(study), claimed(study), claimed(study)
    assert take(study) is NoClaim.WAIT  # one of the three may yet leave time
    end(study, first, 90)
    fourth = claimed(study)
    assert take(study) is NoClaim.WAIT
    for claim in (second, third, fourth):
        assert promote(study) == 0
        end(study, claim, SIX_MINUTES)
    assert take(study) is NoClaim.DONE
    assert proxies_left(study, study.proxy_trials()) == 0
    assert promote(study) == 1
    assert len(study.proxy_trials()) == 4


def test_overhead_counts_as_it_was(database: Database) -> None:
    """Of 20 minutes the first takes 6 and 1: twice 7 more would be 21."""
    study = open_study(database, limited("max_hours = 0.3333333"))
    end(study, claimed(study), SIX_MINUTES, overhead=60)
    end(study, claimed(study), SIX_MINUTES, overhead=60)
    assert take(study) is NoClaim.DONE


@pytest.mark.parametrize(
    ("limit", "trials", "expected"), [("max_hours = 10", 3, 3), ("max_hours = 0.2", 3, 2), ("", 2, 2)]
)
def test_whichever_comes_first(limit: str, trials: int, expected: int, database: Database) -> None:
    study = open_study(database, limited(limit, trials=trials))
    while isinstance(claim := take(study), Claim):
        end(study, claim, SIX_MINUTES)
    assert len(study.proxy_trials()) == expected
    assert read(study).proxies_over


def test_what_waits_is_run_however_little_is_left(database: Database) -> None:
    """A lost run's retry is no new configuration, and the race could never begin without it."""
    study = open_study(database, limited("max_hours = 0.2"))
    first, second = claimed(study), claimed(study)
    end(study, first, SIX_MINUTES)
    assert study.proxy_queue.fail(second.trial_id, "lost")
    assert not room_for_proxy(study, study.proxy_trials())
    end(study, claimed(study), SIX_MINUTES)
    assert take(study) is NoClaim.DONE


def test_limits_of_an_open_study_may_change(database: Database) -> None:
    study = open_study(database, limited("max_hours = 0.2"))
    while isinstance(claim := take(study), Claim):
        end(study, claim, SIX_MINUTES)
    assert promote(study) == 1
    more = open_study(database, limited("max_hours = 0.3"))
    assert not read(more).proxies_over
    assert promote(more) == 0
    end(more, claimed(more), SIX_MINUTES)
    assert take(more) is NoClaim.DONE


@pytest.mark.parametrize("limit", ["max_hours = 1.0", "max_usd = 0.5"])
def test_racing_workers_take_no_second_that_is_not_there(limit: str, database: Database, database_url: str) -> None:
    """Six threads, runs of 0 to 6 minutes and one of ten lost: at no time more than an hour is taken or bound.

    In the end less than a whole run is left: the limit doesn't hold merely by doing nothing.
    """
    open_study(database, limited(limit))
    start, failures = threading.Barrier(6), list[BaseException]()

    def work(index: int) -> None:
        own, draw = connect(database_url), random.Random(index)
        try:
            study = load_study(own, "limited")
            start.wait()
            while (claim := take(study, f"w{index}")) is not NoClaim.DONE:
                if not isinstance(claim, Claim):
                    continue
                left = affordable_runs(study, study.plan.proxy, study.proxy_trials())
                assert left is not None
                assert left >= 0
                if draw.random() < 0.1:
                    assert study.proxy_queue.fail(claim.trial_id, "lost")
                else:
                    end(study, claim, draw.choice([SIX_MINUTES, draw.uniform(0, SIX_MINUTES)]))
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    in_threads(work)
    assert failures == []
    trials = load_study(database, "limited").proxy_trials()
    taken = sum(t.user_attrs.get("total_seconds", 0.0) for t in trials)
    lost = sum((t.duration.total_seconds() if t.duration else 0) for t in trials if t.state == TrialState.FAIL)
    assert all(t.state.is_finished() for t in trials)
    assert 3600 - SIX_MINUTES < taken + lost <= 3600


def test_racing_workers_take_exactly_what_fits(database: Database, database_url: str) -> None:
    """Of runs that none ends, 10 of 6 minutes fit into an hour."""
    open_study(database, limited("max_hours = 1.0"))
    start = threading.Barrier(6)

    def work(index: int) -> None:
        own = connect(database_url)
        study = load_study(own, "limited")
        start.wait()
        while isinstance(take(study, f"w{index}"), Claim):
            pass
        own.close()

    in_threads(work)
    assert len(load_study(database, "limited").proxy_trials()) == 10


def test_prices_of_workers_count(database: Database) -> None:
    """A run on a machine of $1.50 an hour takes $0.15 of $0.25; two more fit at the study's price, $0.05 each."""
    study = open_study(database, limited("max_usd = 0.25"))
    registry_of(study).register("dear", machine="dear", device="GPU", usd_per_hour=1.5)
    assert isinstance(take(study, "dear"), Claim)
    assert affordable_runs(study, study.plan.proxy, study.proxy_trials()) == 2


def test_status_says_about_how_many_there_will_be(database: Database) -> None:
    """Of an hour four runs of 3 minutes leave 48; others like them start while a whole one fits: 1 + (48 − 6) / 3."""
    study = open_study(database, limited("max_hours = 1.0"))
    for _ in range(4):
        end(study, claimed(study), SIX_MINUTES / 2)
    facts = read(study)
    assert proxies_to_come(facts) == forecast(facts).proxies == 15
    counts = study_overview(facts).proxies
    assert (counts.asked, counts.estimated, ended_of_all(counts)) == (19, True, "4 of about 19")
    assert waits_for(facts) == "begins when about 15 more proxies have finished."
    while isinstance(claim := take(study), Claim):
        end(study, claim, SIX_MINUTES)
    ended = study_overview(read(study)).proxies
    assert (ended.asked, ended.estimated) == (len(study.proxy_trials()), False)


@settings(deadline=None)
@given(st.floats(0, 1e5), st.floats(1, 1e4), st.floats(0.01, 1), st.floats(0.01, 1))
def test_an_expected_number_lies_between_its_extremes(left: float, whole: float, part: float, price: float) -> None:
    """Never fewer than if none were pruned, never more than what all the time would hold."""
    allowance = Allowance(left=left, run_seconds=whole, price=price)
    expected = allowance.expected_runs(part * whole)
    assert allowance.runs <= expected <= left / price / (part * whole) + 1e-6
    assert allowance.expected_runs(whole) == pytest.approx(allowance.runs, abs=1e-6)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("max_hours = 0.05", "`max_hours` is 0.05, but must be 0, or enough for a run of 6m"),
        ("max_hours = -1", "`max_hours` is -1.0, but must be >= 0"),
    ],
)
def test_limits_that_are_refused(limit: str, message: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        limited(limit)
    assert message in str(caught.value)


def test_dollars_need_a_price_and_a_grid_no_limit() -> None:
    text = raced.TEXT.format(confirm="", baseline=0.1, proxy="max_usd = 1.0", pruner="").replace("0.5", "0")
    with pytest.raises(StudyFileError, match=r"\[proxy\] `max_usd` is 1, but \[cost\] `usd_per_gpu_hour` is 0"):
        Plan.parse(text, name="limited", origin="a test")
    grid = '[data]\nsource = "builtin"\n[space]\nn_layer = { low = 1, high = 2 }\n[proxy]\nsampler = "grid"\n'
    with pytest.raises(StudyFileError, match='can\'t limit sampler = "grid"'):
        Plan.parse(f'{grid}budget = "6m"\nmax_hours = 1.0\n', name="limited", origin="a test")
