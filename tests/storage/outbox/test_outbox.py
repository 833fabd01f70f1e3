import contextlib
import json
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import psycopg2
import pytest
import sqlalchemy as sa
from optuna.trial import FrozenTrial, TrialState

from storage.outbox import outbox as outbox_module
from storage.outbox.journal import Journal, leftover_messages
from storage.outbox.messages import deliver, deliver_leftovers
from storage.outbox.outbox import Outbox
from storage.queue.trial_queue import Claim, TrialQueue
from storage.server.database import Database, connect
from tests.forking.context import forked
from tests.outages import Proxy

STUDY = "queue"
SECONDS = 30.0
"""For anything to come to pass that takes a moment."""


@pytest.fixture
def queue(database: Database) -> TrialQueue:
    optuna.create_study(study_name=STUDY, storage=database.storage)
    return TrialQueue(database, STUDY, grace_seconds=60, inherited=("seed",))


@pytest.fixture
def outbox(database: Database, tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(database, "w", tmp_path) as opened:
        yield opened


def claim(queue: TrialQueue) -> int:
    taken = queue.claim("w", 100)
    assert isinstance(taken, Claim)
    return taken.trial_id


def trials(database: Database) -> list[FrozenTrial]:
    return optuna.load_study(study_name=STUDY, storage=database.storage).get_trials()


def order_of_arrival(database: Database, trial_id: int) -> list[int]:
    """The steps of a trial in the order in which their rows came to be."""
    rows = "SELECT step FROM trial_intermediate_values WHERE trial_id = :t ORDER BY trial_intermediate_value_id"
    with database.engine.connect() as connection:
        return list(connection.execute(sa.text(rows), {"t": trial_id}).scalars())


def outage() -> sa.exc.OperationalError:
    return sa.exc.OperationalError("", {}, psycopg2.OperationalError("server closed the connection unexpectedly"))


def test_what_is_written_arrives_as_optuna_would_have_it(database: Database, queue: TrialQueue, outbox: Outbox) -> None:
    """Side by side with a trial that Optuna's own storage wrote."""
    ours, theirs = claim(queue), claim(queue)
    values = {10: 2.5, 20: float("inf"), 30: float("nan"), 40: -float("inf"), 50: 1e-300}
    said = {"tokens": 5, "mode": "eager", "nested": {"a": [1, None]}, "odd": 'ü"\\ {}, \x00', "none": None}
    for step, value in values.items():
        outbox.report(queue, ours, step, value)
        database.storage.set_trial_intermediate_value(theirs, step, value)
    outbox.attributes(queue, ours, said)
    outbox.finish(queue, ours, TrialState.COMPLETE, 1.25)
    for key, attribute in said.items():
        database.storage.set_trial_user_attr(theirs, key, attribute)
    database.storage.set_trial_state_values(theirs, TrialState.COMPLETE, [1.25])
    assert outbox.wait(SECONDS)
    a, b = trials(database)
    assert repr(a.intermediate_values) == repr(b.intermediate_values)
    assert (a.user_attrs, a.state, a.value) == (b.user_attrs, b.state, b.value)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_lost_on_the_way_all_arrives_in_order_and_once(
    database: Database, queue: TrialQueue, outbox: Outbox, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Each call may fail before it is made, or its answer may be lost after."""
    draw = random.Random(seed)

    def unreliable(*message: Any) -> bool:
        fate = draw.choice(["fails", "answer lost", "works", "works"])
        if fate == "fails":
            raise outage()
        counted = deliver(*message)
        if fate == "answer lost":
            raise outage()
        return counted

    monkeypatch.setattr(outbox_module, "deliver", unreliable)
    for pause in ("FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(outbox_module, pause, 0.001)
    steps = list(range(5, 101, 5))
    done, back = claim(queue), claim(queue)
    for step in steps:
        outbox.report(queue, done, step, step / 100)
        outbox.report(queue, back, step, step / 50)
    outbox.finish(queue, done, TrialState.COMPLETE, 1.0)
    outbox.fail(queue, back, "interrupted")
    assert outbox.wait(SECONDS)
    finished, interrupted, successor = trials(database)
    assert order_of_arrival(database, done) == order_of_arrival(database, back) == steps
    assert finished.intermediate_values == {step: step / 100 for step in steps}
    assert (finished.state, finished.value) == (TrialState.COMPLETE, 1.0)
    assert (interrupted.state, interrupted.user_attrs["failure"]) == (TrialState.FAIL, "interrupted")
    assert (successor.state, successor.user_attrs) == (TrialState.WAITING, {"retries": 1, "tries": 1})
    assert not outbox.lost(done)


def test_a_trial_that_was_taken_away_takes_no_more(database: Database, queue: TrialQueue, outbox: Outbox) -> None:
    taken, other = claim(queue), claim(queue)
    queue.fail(taken, "lost")
    outbox.report(queue, taken, 20, 1.0)
    outbox.attributes(queue, taken, {"tokens": 1})
    outbox.finish(queue, taken, TrialState.COMPLETE, 1.0)
    outbox.report(queue, other, 20, 1.0)
    assert outbox.wait(SECONDS)
    assert outbox.lost(taken)
    assert not outbox.lost(other)
    lost, kept, _ = trials(database)
    assert (lost.state, lost.intermediate_values, lost.value) == (TrialState.FAIL, {}, None)
    assert lost.user_attrs == {"worker": "w", "failure": "lost"}
    assert kept.intermediate_values == {20: 1.0}


def test_what_can_never_be_stored_does_not_block_the_rest(
    database: Database, queue: TrialQueue, tmp_path: Path
) -> None:
    lines: list[str] = []
    with Outbox(database, "w", tmp_path, lines.append) as outbox:
        trial_id = claim(queue)
        outbox.report(queue, trial_id, 2**40, 1.0)  # no step of Postgres' integer
        outbox.report(queue, trial_id, 20, 1.0)
        assert outbox.wait(SECONDS)
    assert trials(database)[0].intermediate_values == {20: 1.0}
    assert len(lines) == 1
    assert "could not be stored" in lines[0]


def test_a_disk_that_takes_no_journal_is_named_once(database: Database, queue: TrialQueue, tmp_path: Path) -> None:
    lines: list[str] = []
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    with Outbox(database, "w", no_folder, lines.append) as outbox:
        trial_id = claim(queue)
        for step in (20, 40):
            outbox.report(queue, trial_id, step, 1.0)
        assert outbox.wait(SECONDS)
    assert list(trials(database)[0].intermediate_values) == [20, 40]
    assert len(lines) == 1
    assert "kept in memory alone" in lines[0]


def test_a_question_is_answered_after_what_was_written_before_it(
    database: Database, queue: TrialQueue, outbox: Outbox
) -> None:
    trial_id = claim(queue)
    outbox.report(queue, trial_id, 20, 1.5)
    asked = outbox.ask(lambda: database.storage.get_trial(trial_id).intermediate_values)
    assert outbox.wait(SECONDS)
    assert asked.result(0) == {20: 1.5}


def test_only_the_latest_question_is_asked_and_an_error_in_it_is_its_askers(outbox: Outbox) -> None:
    asked: list[str] = []
    started, go_on = multiprocessing.Event(), multiprocessing.Event()

    def question(name: str) -> Callable[[], str]:
        def ask() -> str:
            asked.append(name)
            started.set()
            assert go_on.wait(SECONDS)
            if name == "last":
                raise KeyError(name)
            return name

        return ask

    first = outbox.ask(question("first"))
    assert started.wait(SECONDS)
    middle, last = outbox.ask(question("middle")), outbox.ask(question("last"))
    go_on.set()
    assert outbox.wait(SECONDS)
    assert asked == ["first", "last"]
    assert (first.result(0), middle.done()) == ("first", False)
    with pytest.raises(KeyError):
        last.result(0)


def _report_and_die(url: str, folder: str, parent: Any) -> None:
    database = connect(url)
    queue = TrialQueue(database, STUDY, grace_seconds=60)
    outbox = Outbox(database, "w", Path(folder))
    with outbox:
        trial_id = claim(queue)
        outbox.report(queue, trial_id, 20, 2.0)
        assert outbox.wait(SECONDS)
        parent.send(trial_id)
        parent.recv()  # the network is cut now
        for step in (40, 60):
            outbox.report(queue, trial_id, step, step / 100)
        outbox.finish(queue, trial_id, TrialState.COMPLETE, 1.0)
        parent.send("written")
        signal.pause()


def test_what_a_killed_worker_had_written_in_an_outage_is_delivered_by_the_next(
    database: Database, queue: TrialQueue, database_url: str, tmp_path: Path
) -> None:
    port = sa.make_url(database_url).port
    assert port is not None
    proxy = Proxy(port)
    here, there = forked.Pipe()
    worker = forked.Process(target=_report_and_die, args=(proxy.url(database_url), str(tmp_path), there))
    worker.start()
    trial_id = here.recv()
    proxy.cut()
    here.send("cut")
    here.recv()
    assert deliver_leftovers(database, [queue], tmp_path) == 0  # its worker lives
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(SECONDS)
    (left,) = tmp_path.iterdir()
    assert left.stat().st_mode & 0o777 == 0o600
    assert deliver_leftovers(database, [queue], tmp_path) == 3
    (trial,) = trials(database)
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 1.0)
    assert trial.intermediate_values == {20: 2.0, 40: 0.4, 60: 0.6}
    assert order_of_arrival(database, trial_id) == [20, 40, 60]
    assert list(tmp_path.iterdir()) == []
    proxy.close()


def test_leftovers_count_only_where_their_worker_holds_the_trial(
    database: Database, queue: TrialQueue, tmp_path: Path
) -> None:
    """Another database, made since, may have a trial of the same number."""
    trial_id = claim(queue)
    messages = [
        {"queue": STUDY, "trial_id": trial_id, "worker": "another", "report": [20, 1.0]},
        {"queue": "another", "trial_id": trial_id, "worker": "w", "report": [20, 1.0]},
        {"queue": STUDY, "trial_id": 10**6, "worker": "w", "report": [20, 1.0]},
    ]
    (tmp_path / "left.jsonl").write_text("".join(json.dumps(message) + "\n" for message in messages))
    assert deliver_leftovers(database, [queue], tmp_path) == 0
    assert trials(database)[0].intermediate_values == {}
    assert list(tmp_path.iterdir()) == []


def test_a_journal_survives_a_torn_line_and_forgets_what_is_delivered(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append({"report": [20, 1.0]})
    (path,) = tmp_path.iterdir()
    with leftover_messages(path) as messages:
        assert messages == []  # it isn't dead
    journal.clear()
    journal.append({"report": [40, 1.0]})
    journal.close()
    with path.open("a") as file:
        file.write('{"report": [60, 1')
    with contextlib.suppress(KeyError), leftover_messages(path):
        raise KeyError("delivering failed")
    with leftover_messages(path) as messages:
        assert messages == [{"report": [40, 1.0]}]
    assert not path.exists()
    with leftover_messages(path) as messages:
        assert messages == []
