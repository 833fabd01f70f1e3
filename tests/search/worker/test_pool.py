"""A worker's name is its own, and known to who started it."""

import os
import sys
from pathlib import Path

import pytest

from search.machine.slots import Slot
from search.worker import pool
from search.worker.pool import TOKEN, spawn, worker_name


def test_a_process_number_that_comes_again_is_another_worker() -> None:
    assert worker_name(7) != worker_name(7)
    assert worker_name(7, "0a0b0c") == f"{os.uname().nodename}/7-0a0b0c"


def test_who_starts_a_worker_knows_its_name(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = f"import os; from search.worker.pool import *; print(worker_name(os.getpid(), os.environ['{TOKEN}']))"
    start = pool._popen
    monkeypatch.setattr(pool, "_popen", lambda command, *rest: start([sys.executable, "-c", says], *rest))
    worker = spawn("tiny", Slot("cpu", 1), 0, None)
    assert worker.process.wait(60) == 0
    assert worker.tail() == worker.name
