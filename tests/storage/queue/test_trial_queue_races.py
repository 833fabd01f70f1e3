"""Claims of workers that are cut off, paused, doubted and raced: nothing half done, nobody lost, nobody twice."""

import contextlib
import os
import random
from collections.abc import Callable, Iterator

import optuna
import psycopg2
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from storage.queue.liveness_sql import NOTICED
from storage.queue.trial_queue import Claim, NoClaim, TrialQueue
from storage.server.database import Database, connect
from tests.forking.context import forked
from tests.storage.queue.test_trial_queue import (
    GRACE_SECONDS,
    STUDY,
    claim,
    let_server_be_old,
    run_all,
    silence,
    states,
    suggest,
    trials,
    unheard,
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = connect(database_url)
    let_server_be_old(opened)
    optuna.create_study(study_name=STUDY, storage=opened.storage)
    yield opened
    opened.close()


@pytest.fixture
def queue(database: Database) -> TrialQueue:
    return TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS, inherited=("seed",), max_tries=3)


def notice_earlier(database: Database, seconds: float) -> None:
    """Set back in time when silence was noticed."""
    earlier = "UPDATE trial_system_attributes SET value_json = (value_json::float8 - :s)::text WHERE key = :k"
    with database.engine.begin() as connection:
        connection.execute(sa.text(earlier), {"s": seconds, "k": NOTICED})


def cut_off(database: Database, after: int, call: Callable[[], object]) -> bool:
    """Make the call, whose thread dies after so many statements; returns whether it came through."""
    left = after

    def dying(*_: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt

    sa.event.listen(database.engine, "before_cursor_execute", dying)
    try:
        call()
    except KeyboardInterrupt:
        return False
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", dying)
    return True


def until_it_comes_through(database: Database, call: Callable[[], object], unchanged: Callable[[], bool]) -> int:
    """Cut the call off after each of its statements in turn, each time to no effect; returns how many it has."""
    for after in range(100):
        if cut_off(database, after, call):
            return after
        assert unchanged(), f"cut off after {after} statements"
    raise AssertionError("it never came through")


def test_a_claim_that_is_cut_off_is_whole_or_none(database: Database, queue: TrialQueue) -> None:
    """It may only be cut off after its transaction: then a worker's name and heartbeat are there to be missed."""

    def whole_or_none() -> bool:
        with database.engine.connect() as connection:
            beats = connection.execute(sa.text("SELECT count(*) FROM trial_heartbeats")).scalar_one()
        return (beats, [t.user_attrs for t in trials(database)]) in ((0, []), (1, [{"worker": "w"}]))

    assert until_it_comes_through(database, lambda: queue.claim("w", 1), whole_or_none) > 5
    assert states(database) == [TrialState.RUNNING]


def test_a_reaper_that_is_cut_off_has_reaped_nothing(database: Database, queue: TrialQueue) -> None:
    """The lost trial and its successor come about together, or not at all; nothing half done is remembered."""
    x = suggest(database, claim(queue))
    silence(database, trials(database)[0]._trial_id)
    unchanged = [TrialState.RUNNING]
    assert until_it_comes_through(database, queue.reconcile, lambda: states(database) == unchanged) > 5
    lost, successor = trials(database)
    assert (lost.state, successor.state) == (TrialState.FAIL, TrialState.WAITING)
    assert successor.system_attrs["fixed_params"] == {"x": x}


def test_a_holder_whose_lock_is_cut_has_changed_nothing(
    database: Database, queue: TrialQueue, database_url: str
) -> None:
    """The server ends the connection of one who holds the lock; another claims before the first goes on."""

    def hold() -> None:
        with database.atomic(f"lilm-search/queue/{STUDY}") as connection:
            pid = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            database.uncached.create_new_trial(queue.study_id)
            _end_and_claim(database_url, pid)
            connection.execute(sa.text("SELECT 1"))

    with pytest.raises(sa.exc.DBAPIError):
        hold()
    assert [t.user_attrs for t in trials(database)] == [{"worker": "second"}]


def _end_and_claim(url: str, pid: int) -> None:
    other = connect(url)
    with other.engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    claim(TrialQueue(other, STUDY, grace_seconds=GRACE_SECONDS), worker="second")
    other.close()


def test_a_server_that_was_paused_reaps_nobody_who_lives(database: Database, queue: TrialQueue) -> None:
    """All are silent for longer than the grace when it goes on; who beats then is alive, who doesn't is lost."""
    alive, dead = claim(queue), claim(queue)
    for taken in (alive, dead):
        unheard(database, taken.trial_id, GRACE_SECONDS + 5)
    queue.reconcile()
    assert states(database) == [TrialState.RUNNING] * 2
    assert queue.beat(alive.trial_id)
    notice_earlier(database, GRACE_SECONDS / 2 + 1)
    queue.reconcile()
    assert states(database) == [TrialState.RUNNING, TrialState.FAIL, TrialState.WAITING]


def test_silence_that_was_noticed_before_a_beat_is_forgiven(database: Database, queue: TrialQueue) -> None:
    taken = claim(queue)
    silence(database, taken.trial_id)
    assert queue.beat(taken.trial_id)
    unheard(database, taken.trial_id, GRACE_SECONDS + 1)  # again silent, and not yet noticed
    notice_earlier(database, 10 * GRACE_SECONDS)
    assert not queue.reap()
    assert states(database) == [TrialState.RUNNING]


def test_a_claim_whose_answer_is_lost_is_one_of_those_asked_for(
    database: Database, queue: TrialQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit arrives, its acknowledgement doesn't, the worker asks again: the first becomes an orphan."""
    commit, lost = database.atomic, [False, True]

    @contextlib.contextmanager
    def unheard_commit(name: str) -> Iterator[sa.Connection]:
        with commit(name) as connection:
            yield connection
        if lost.pop():
            raise sa.exc.OperationalError("COMMIT", {}, psycopg2.OperationalError("connection reset"))

    with monkeypatch.context() as patch:
        patch.setattr(database, "atomic", unheard_commit)
        second = database.retrying(lambda: queue.claim("w", 2), sleep=lambda seconds: None)
    assert isinstance(second, Claim)
    assert queue.claim("w", 2) is NoClaim.WAIT  # the orphan counts
    queue.finish(second.trial_id, TrialState.COMPLETE, 1.0)
    silence(database, trials(database)[0]._trial_id)
    assert claim(queue, limit=2).user_attrs["retries"] == 0
    assert queue.counted() == 2


def _take_part(url: str) -> None:
    """Claim, and lose, hand back or finish; reap and release others meanwhile, as every worker does."""
    draw = random.Random(os.getpid())
    database = connect(url)
    queue = TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS, inherited=("seed",), max_tries=10**6)
    while (taken := queue.claim(f"w{os.getpid()}", 20)) is not NoClaim.DONE:
        if not isinstance(taken, Claim):
            queue.release_worker("forsaken")
        elif draw.random() < 0.5:
            queue.finish(taken.trial_id, TrialState.COMPLETE, 1.0)
        elif draw.random() < 0.5:
            queue.fail(taken.trial_id, draw.choice(["lost", "interrupted"]))
        else:  # its worker dies: all others know at once, and want to be the first to say so
            database.storage.set_trial_user_attr(taken.trial_id, "worker", "forsaken")
            queue.release_worker("forsaken")
    database.close()


def test_whatever_is_lost_in_a_race_each_has_one_successor_and_all_are_trained(
    database: Database, database_url: str
) -> None:
    run_all([forked.Process(target=_take_part, args=(database_url,)) for _ in range(3)])
    ended = trials(database)
    lost = [t.number for t in ended if t.state == TrialState.FAIL]
    assert sum(t.state == TrialState.COMPLETE for t in ended) == 20
    assert sorted(t.user_attrs["retries"] for t in ended if "retries" in t.user_attrs) == lost
    assert len(ended) == 20 + len(lost)
    assert lost
