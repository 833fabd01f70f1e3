"""What tests of the strategy share."""

from typing import cast

import pytest
from optuna.storages import InMemoryStorage

from storage.server.database import Database
from tests.benchmarks.search.memory import MemoryDatabase, memory_queue


@pytest.fixture
def in_memory(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database that keeps trials in memory, for whole studies of which only the decisions are looked at.

    A study in memory is the one that Postgres gives: tests/benchmarks/search/test_ours.py. The server is asked for the
    rest, such as registered workers.
    """
    monkeypatch.setattr("search.study.study.TrialQueue", memory_queue())
    memory = MemoryDatabase(InMemoryStorage())
    monkeypatch.setattr(memory, "engine", database.engine, raising=False)
    return cast(Database, memory)
