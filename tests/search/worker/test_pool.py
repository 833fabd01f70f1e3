"""Who is started: none for nothing, and another for the last one that a signal ends; a worker's name is its own."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from search.common.signals import StopRequest
from search.machine.slots import Slot
from search.study.study import LinkedStudy
from search.worker import pool
from search.worker.pool import TOKEN, LocalWorker, spawn, worker_name
from storage.server.database import Database
from tests.conftest import CLI_SECONDS
from tests.search.worker import test_outages
from tests.search.worker.test_afresh import Lines


def test_a_process_number_that_comes_again_is_another_worker() -> None:
    assert worker_name(7) != worker_name(7)
    assert worker_name(7, "0a0b0c") == f"{os.uname().nodename}/7-0a0b0c"


def test_who_starts_a_worker_knows_its_name(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = f'echo "$(uname -n)/$$-${TOKEN}"'
    start = pool._popen
    monkeypatch.setattr(pool, "_popen", lambda command, *rest: start(["sh", "-c", says], *rest))
    worker = spawn("tiny", Slot("cpu", 1), 0, None)
    assert worker.process.wait(CLI_SECONDS) == 0
    assert worker.tail() == worker.name


class KillingDisplay:
    """Shows nothing; the first time, it kills the workers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._killed = False

    def say(self, line: str) -> None:
        self.lines.append(line)

    def update(self, study: LinkedStudy, workers: Iterable[LocalWorker]) -> None:
        for worker in () if self._killed else workers:
            worker.process.kill()
            assert worker.process.wait(CLI_SECONDS) == -signal.SIGKILL
        self._killed = True


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_only_worker_is_replaced_whenever_it_is_killed(
    database: Database, fresh_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even between the pool's look at who has died and its look at whether any is left."""
    programs, start = iter((["sleep", "1000"], ["true"])), pool._popen
    monkeypatch.setattr(pool, "_popen", lambda command, *rest: start(next(programs), *rest))
    display = KillingDisplay()
    pool.run_workers(test_outages.opened(database), [Slot("cpu", 1)], None, display, StopRequest())
    assert list(programs) == []
    (line,) = display.lines
    assert "was ended by SIGKILL; its trial goes to another" in line


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_finished_study_needs_no_worker(database: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has as little as a trial to try again does."""
    started: list[str] = []
    start = pool._popen

    def popen(command: list[str], *rest: object) -> object:
        started.append(command[-1])
        return start(["true"], *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(pool, "_popen", popen)
    study = test_outages.opened(database)

    def run() -> None:
        pool.run_workers(study, [Slot("cpu", 1)], None, Lines(), StopRequest())

    run()
    assert len(started) == 1
    test_outages.worker(study, test_outages.Simulated()).run()
    run()
    assert len(started) == 1
    study.proxies.enqueue_trial({})
    run()
    assert len(started) == 2
