import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, Trial, TrialState

from storage.queue.heartbeat import Heartbeat
from storage.queue.liveness_sql import NOTICED
from storage.queue.trial_queue import Claim, NoClaim, TrialQueue
from storage.server.database import MOST_CONNECTIONS, Database, connect, is_transient
from tests.conftest import CLI_SECONDS, database_with_tables
from tests.forking.context import forked

GRACE_SECONDS = 60.0
STUDY = "queue"
ASKED = 12
"""Trials for which workers race."""
SERVER_STARTED = """
    CREATE OR REPLACE FUNCTION aged.pg_postmaster_start_time() RETURNS timestamptz AS $${}$$ LANGUAGE sql
"""


@pytest.fixture
def url(any_server_url: str) -> str:
    return database_with_tables(any_server_url)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = connect(url)
    let_server_be_old(opened)
    optuna.create_study(study_name=STUDY, storage=opened.storage)
    yield opened
    opened.close()


def let_server_be_old(database: Database) -> None:
    """Nobody is reaped while the server is younger than the grace; the tests' servers are: shadow its start time."""
    with database.engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA aged"))
        connection.execute(sa.text(SERVER_STARTED.format("SELECT now() - interval '1 day'")))
        name = connection.execute(sa.text("SELECT current_database()")).scalar_one()
        connection.execute(sa.text(f'ALTER DATABASE "{name}" SET search_path = aged, pg_catalog, public'))
    database.engine.dispose()


@pytest.fixture
def queue(database: Database) -> TrialQueue:
    return TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS, inherited=("seed",), max_tries=3)


def trials(database: Database) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=STUDY, storage=database.storage).get_trials()


def claim(queue: TrialQueue, limit: int | None = 10, worker: str = "w") -> Claim:
    taken = queue.claim(worker, limit)
    assert isinstance(taken, Claim)
    return taken


def silence(database: Database, trial_id: int, seconds: float = GRACE_SECONDS + 5) -> None:
    """Set a trial's last sign of life back in time, and have its silence noticed half a grace ago."""
    unheard(database, trial_id, seconds)
    TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS).reap()
    moved = "UPDATE trial_system_attributes SET value_json = (value_json::float8 - :s)::text WHERE key = :k"
    with database.engine.begin() as connection:
        assert connection.execute(sa.text(moved), {"s": GRACE_SECONDS / 2, "k": NOTICED}).rowcount == 1


def unheard(database: Database, trial_id: int, seconds: float) -> None:
    """Set a trial's last sign of life back in time."""
    moved = sa.text("UPDATE trial_heartbeats SET heartbeat = heartbeat - make_interval(secs => :s) WHERE trial_id = :t")
    with database.engine.begin() as connection:
        assert connection.execute(moved, {"s": seconds, "t": trial_id}).rowcount == 1


def states(database: Database) -> list[TrialState]:
    return [t.state for t in trials(database)]


def suggest(database: Database, taken: Claim) -> float:
    return Trial(optuna.load_study(study_name=STUDY, storage=database.storage), taken.trial_id).suggest_float("x", 0, 1)


def _claim_all(url: str, results: Any) -> None:
    database = connect(url)
    queue = TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS)
    while isinstance(taken := queue.claim(f"w{os.getpid()}", ASKED), Claim):
        queue.finish(taken.trial_id, TrialState.COMPLETE, float(taken.number))
        results.put(taken.number)
    database.close()


def _reconcile(url: str) -> None:
    database = connect(url)
    TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS, inherited=("seed",)).reconcile()
    database.close()


def _claim_and_hang(url: str, ready: Any) -> None:
    database = connect(url)
    taken = claim(TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS), worker="doomed")
    ready.put((taken.trial_id, suggest(database, taken)))
    signal.pause()


def run_all(processes: list[ForkServerProcess]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join(CLI_SECONDS)
        assert process.exitcode == 0


def test_racing_workers_train_exactly_what_was_asked(database: Database, url: str) -> None:
    results = forked.Queue()
    run_all([forked.Process(target=_claim_all, args=(url, results)) for _ in range(4)])
    numbers = sorted(results.get(timeout=CLI_SECONDS) for _ in range(ASKED))
    assert numbers == list(range(ASKED))
    assert results.empty()
    assert len(trials(database)) == ASKED


def test_a_killed_workers_trial_gets_one_successor_with_its_parameters(database: Database, url: str) -> None:
    ready = forked.Queue()
    doomed = forked.Process(target=_claim_and_hang, args=(url, ready))
    doomed.start()
    trial_id, x = ready.get(timeout=CLI_SECONDS)
    assert doomed.pid is not None
    os.kill(doomed.pid, signal.SIGKILL)
    doomed.join(CLI_SECONDS)
    silence(database, trial_id)
    run_all([forked.Process(target=_reconcile, args=(url,)) for _ in range(4)])
    lost, successor = trials(database)
    assert (lost.state, lost.user_attrs["failure"]) == (TrialState.FAIL, "lost")
    assert successor.state == TrialState.WAITING
    assert successor.user_attrs == {"retries": 0, "tries": 2}
    queue = TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS)
    assert suggest(database, claim(queue)) == x
    assert queue.counted() == 1


def test_only_true_marks_a_trial_as_preferred(queue: TrialQueue) -> None:
    for n, wanted in enumerate(("no", 1, True)):
        queue.enqueue({"x": 0.5}, {"n": n}, {"by_hand": wanted})
    taken = [queue.claim("w", None, "by_hand") for _ in range(3)]
    assert [t.user_attrs["n"] for t in taken if isinstance(t, Claim)] == [2, 0, 1]


def test_a_worker_that_died_before_its_first_beat_goes_stale_too(database: Database, queue: TrialQueue) -> None:
    orphan = optuna.load_study(study_name=STUDY, storage=database.storage).ask()
    queue.reconcile()
    silence(database, orphan._trial_id)
    queue.reconcile()
    assert [t.state for t in trials(database)] == [TrialState.FAIL, TrialState.WAITING]
    suggest(database, claim(queue))  # no parameters were lost with it: new ones are drawn


def test_a_beating_worker_keeps_its_trial(database: Database, queue: TrialQueue) -> None:
    taken = claim(queue)
    silence(database, taken.trial_id)
    assert queue.beat(taken.trial_id)
    queue.reconcile()
    assert [t.state for t in trials(database)] == [TrialState.RUNNING]


def test_a_reaped_worker_finds_out_and_changes_nothing(database: Database, queue: TrialQueue) -> None:
    taken = claim(queue)
    silence(database, taken.trial_id)
    queue.reconcile()
    assert not queue.beat(taken.trial_id)
    assert not queue.finish(taken.trial_id, TrialState.COMPLETE, 1.0)
    assert not queue.fail(taken.trial_id, "error")
    assert [t.state for t in trials(database)] == [TrialState.FAIL, TrialState.WAITING]


def test_the_heartbeat_says_when_the_trial_was_taken_away(database: Database, queue: TrialQueue) -> None:
    taken = claim(queue)
    with Heartbeat(queue, taken.trial_id, interval_seconds=0.01) as heart:
        queue.fail(taken.trial_id, "error")
        heart._thread.join(CLI_SECONDS)
        assert heart.lost


def test_a_young_server_reaps_nobody(database: Database, queue: TrialQueue) -> None:
    taken = claim(queue)
    silence(database, taken.trial_id)
    with database.engine.begin() as connection:
        connection.execute(sa.text(SERVER_STARTED.format("SELECT now()")))
    queue.reconcile()
    assert [t.state for t in trials(database)] == [TrialState.RUNNING]


@pytest.mark.parametrize("cause", ["diverged", "out_of_memory", "error"])
def test_a_configurations_own_fault_is_not_retried(database: Database, queue: TrialQueue, cause: str) -> None:
    queue.fail(claim(queue).trial_id, cause, "why")
    (only,) = trials(database)
    assert (only.state, only.user_attrs["failure"], only.user_attrs["failure_detail"]) == (
        TrialState.FAIL,
        cause,
        "why",
    )
    assert queue.counted() == 1


def test_an_interrupted_trial_is_back_at_once_and_costs_no_try(database: Database, queue: TrialQueue) -> None:
    queue.enqueue({"x": 0.25}, {"seed": 7, "note": "kept by the first alone"})
    taken = claim(queue)
    assert suggest(database, taken) == 0.25
    assert queue.fail(taken.trial_id, "interrupted")
    again = claim(queue)
    assert again.user_attrs == {"seed": 7, "retries": 0, "tries": 1, "worker": "w"}
    assert suggest(database, again) == 0.25


def test_what_kills_machines_does_not_loop_for_ever(database: Database, queue: TrialQueue) -> None:
    for _ in range(3):
        queue.fail(claim(queue, limit=1).trial_id, "lost")
    assert queue.claim("w", 1) is NoClaim.DONE
    assert [t.state for t in trials(database)] == [TrialState.FAIL] * 3
    assert queue.counted() == 1


def test_the_trials_of_a_worker_known_to_be_dead_are_taken_at_once(database: Database, queue: TrialQueue) -> None:
    claim(queue, worker="dead")
    claim(queue, worker="alive")
    assert queue.release_worker("dead") == 1
    assert [t.state for t in trials(database)] == [TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]
    assert queue.release_worker("dead") == 0


def test_waiting_for_others_and_being_done(queue: TrialQueue) -> None:
    taken = claim(queue, limit=1)
    assert queue.claim("other", 1) is NoClaim.WAIT
    queue.finish(taken.trial_id, TrialState.COMPLETE, 1.0)
    assert queue.claim("other", 1) is NoClaim.DONE
    assert queue.claim("other", None) is NoClaim.DONE


def test_queueing_twice_queues_once(database: Database, queue: TrialQueue) -> None:
    assert queue.enqueue({"x": 0.5}, {"confirms": 3, "seed": 1})
    assert not queue.enqueue({"x": 0.5}, {"confirms": 3, "seed": 1})
    assert queue.enqueue({"x": 0.5}, {"confirms": 3, "seed": 2})
    assert len(trials(database)) == 2


def test_finishing_again_after_a_lost_answer_is_no_contradiction(queue: TrialQueue) -> None:
    taken = claim(queue)
    assert queue.finish(taken.trial_id, TrialState.COMPLETE, 1.5)
    assert queue.finish(taken.trial_id, TrialState.COMPLETE, 1.5)
    assert not queue.finish(taken.trial_id, TrialState.COMPLETE, 1.6)


DYING = """
    CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$
"""


def test_connections_that_break_in_mid_call_come_back_to_the_pool(database: Database, queue: TrialQueue) -> None:
    """More often than the pool is large: each failed call is one that may succeed later, and then it does."""
    taken = claim(queue)
    with database.engine.begin() as connection:
        connection.execute(sa.text(DYING))
        on = "CREATE TRIGGER dying BEFORE UPDATE ON trial_heartbeats FOR EACH ROW EXECUTE FUNCTION die()"
        connection.execute(sa.text(on))
    for _ in range(MOST_CONNECTIONS + 1):
        with pytest.raises(sa.exc.OperationalError) as broken:
            queue.beat(taken.trial_id)
        assert is_transient(broken.value)
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER dying ON trial_heartbeats"))
    assert queue.beat(taken.trial_id)
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_room_for_a_new_trial_is_asked_of_all_trials(queue: TrialQueue) -> None:
    """Two at a time: the answer is to wait while others run; what waits already needs no room."""
    seen: list[list[str]] = []

    def room(some: Sequence[FrozenTrial]) -> bool:
        seen.append([t.state.name for t in some])
        return sum(t.state == TrialState.RUNNING for t in some) < 2

    first, second = (queue.claim("w", 10, room=room) for _ in range(2))
    assert isinstance(first, Claim)
    assert isinstance(second, Claim)
    assert queue.claim("w", 10, room=room) is NoClaim.WAIT
    assert seen == [[], ["RUNNING"], ["RUNNING", "RUNNING"]]
    assert queue.fail(first.trial_id, "lost")
    assert isinstance(queue.claim("w", 10, room=lambda trials: False), Claim)
    for trial in queue._trials():
        queue.finish(trial._trial_id, TrialState.COMPLETE, 1.0)
    assert queue.claim("w", 10, room=lambda trials: False) is NoClaim.DONE
