"""The registry of workers, on both servers, with the server's clock in the test's hand."""

import threading
from collections.abc import Iterator

import optuna
import pytest
import sqlalchemy as sa

from storage.registry.workers import Registry, WorkerHeartbeat
from storage.server.database import Database, connect
from tests.conftest import CLI_SECONDS, database_with_tables
from tests.server_clock import ServerClock

STUDY = "fleet"


@pytest.fixture
def database(any_server_url: str) -> Iterator[Database]:
    opened = connect(database_with_tables(any_server_url))
    optuna.create_study(study_name=STUDY, storage=opened.storage)
    yield opened
    opened.close()


@pytest.fixture
def registry(database: Database) -> Registry:
    return Registry(database, STUDY, grace_seconds=60)


def enter(registry: Registry, name: str, price: float = 1.0, launch: str = "") -> str:
    registry.register(name, machine="m1", device="GPU", usd_per_hour=price, launch=launch)
    return name


def test_dollars_are_hours_from_start_to_end_or_to_the_last_sign_of_life(
    database: Database, registry: Registry
) -> None:
    """By hand: one that ended after 30 min at $2, one alive for 1 h at $0.5, one dead since its 15th minute at $4."""
    clock = ServerClock(database)
    for name, price in (("ended", 2.0), ("alive", 0.5), ("dead", 4.0)):
        assert enter(registry, name, price) == name
    clock.set(900)
    assert registry.seen("dead")
    clock.set(1800)
    assert registry.end("ended")
    clock.set(3570)
    assert registry.seen("alive")
    clock.set(3600)
    found = {e.name: e for e in registry.workers()}
    assert {n: e.state for n, e in found.items()} == {"ended": "ended", "alive": "alive", "dead": "dead"}
    assert {n: e.usd for n, e in found.items()} == pytest.approx({"ended": 1.0, "alive": 0.5, "dead": 1.0})
    assert found["alive"].silent_seconds == pytest.approx(30)
    assert found["dead"].now - found["dead"].started == pytest.approx(3600)


def test_who_has_ended_or_never_was_gives_no_sign_of_life(database: Database, registry: Registry) -> None:
    clock = ServerClock(database)
    enter(registry, "one")
    enter(registry, "two")
    clock.set(100)
    assert registry.end("one")
    assert registry.give_up("two")
    clock.set(200)
    assert registry.measured("one", 1234.5)
    assert not registry.measured("nobody", 1234.5)
    assert {e.name: e.reference for e in registry.workers()} == {"one": 1234.5, "two": None}
    for name in ("one", "two", "nobody"):
        assert not registry.seen(name)
        assert not registry.end(name)
        assert not registry.give_up(name)
    assert {e.name: e.paid_seconds for e in registry.workers()} == pytest.approx({"one": 100, "two": 0})


def test_who_lost_the_answer_and_enters_again_is_there_once(registry: Registry) -> None:
    for price in (1.0, 2.0):
        enter(registry, "host/1-a1b2c3", price, launch="rented-1")
    assert [(e.name, e.launch, e.usd_per_hour) for e in registry.workers()] == [("host/1-a1b2c3", "rented-1", 1.0)]


def test_studies_are_apart_and_take_their_workers_with_them(database: Database, registry: Registry) -> None:
    optuna.create_study(study_name="other", storage=database.storage)
    other = Registry(database, "other", grace_seconds=60)
    assert enter(registry, "w") == enter(other, "w") == "w"
    other.end("w")
    assert [e.state for e in registry.workers()] == ["alive"]
    optuna.delete_study(study_name="other", storage=database.storage)
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM lilm_workers")).scalar_one() == 1


class _Flaky(Registry):
    """A registry whose server is away for the first calls."""

    def __init__(self, real: Registry, failures: int) -> None:
        self.real, self.failures, self.calls = real, failures, 0
        self.came_through = threading.Event()

    def seen(self, name: str) -> bool:
        self.calls += 1
        if self.calls <= self.failures:
            raise sa.exc.OperationalError("SELECT 1", {}, Exception("the server is away"))
        done = self.real.seen(name)
        self.came_through.set()
        return done

    def end(self, name: str) -> bool:
        return self.real.end(name)


def test_signs_of_life_survive_an_outage_and_the_end_is_recorded(registry: Registry) -> None:
    name = enter(registry, "w")
    flaky = _Flaky(registry, failures=3)
    with WorkerHeartbeat(flaky, name, interval_seconds=0.01):
        assert flaky.came_through.wait(CLI_SECONDS)
        assert flaky.calls > 3
    assert [e.state for e in registry.workers()] == ["ended"]


class _Hanging(Registry):
    """A registry whose server doesn't answer until the test is over."""

    def __init__(self) -> None:
        self.over, self.answered = threading.Event(), False

    def end(self, name: str) -> bool:
        self.over.wait()
        self.answered = True
        return True


def test_leaving_does_not_wait_for_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.registry.workers.LEAVE_SECONDS", 0.05)
    hanging = _Hanging()
    with WorkerHeartbeat(hanging, "w"):
        pass
    assert not hanging.answered
    hanging.over.set()
