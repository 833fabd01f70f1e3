"""A small chaos, and whether its checks would notice if something were wrong; `make chaos` runs the large one."""

import contextlib
import datetime
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from storage.server.database import parse_url
from tests.chaos import checks
from tests.chaos.checks import check
from tests.chaos.events import KINDS, Sizes, events
from tests.chaos.network import Network
from tests.chaos.run import Chaos, Options, Outcome
from tests.chaos.server import server
from tests.chaos.study import BUDGET_SECONDS, plan
from tests.chaos.worker import shift_clock
from tests.conftest import CLI_SECONDS

SIZES = Sizes(workers=3, trials=12, kills=3, stops=1, restarts=1, cuts=1)
LARGE = Sizes(workers=32, trials=400, kills=60, stops=10, restarts=3, cuts=2)


@pytest.fixture
def home(tmp_path: Path, cache: Path) -> Path:
    (tmp_path / "cache").symlink_to(cache)
    return tmp_path


def said(check_: Any) -> str:
    return (check_.__doc__ or "").rstrip(".")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_study_comes_through_chaos_and_what_is_wrong_afterwards_is_found(home: Path) -> None:
    """First nothing may be found wrong; then the study is damaged, one way after another, and each must be found."""
    with server(fsync="off") as postgres:
        short = plan(trials=SIZES.trials, grace_seconds=1.2, confirm="36s", top=2)
        options = Options(sizes=SIZES, seed=7, scale=0.4 / BUDGET_SECONDS, most_seconds=120)
        chaos = Chaos(postgres, short, home, options)
        outcome = chaos.run()
        found = check(chaos.url, SIZES, outcome)
        assert not found.failed, found.table()
        for damage, check_ in DAMAGES:
            _damage(chaos.url, damage)
            wrong = {what for what, findings in check(chaos.url, SIZES, outcome).wrong.items() if findings}
            assert said(check_) in wrong, damage
        stuck = Outcome(done=Counter(), ended=Counter(failed=1), seconds=1.0, stuck=True)
        wrong = {what for what, findings in check(chaos.url, SIZES, stuck).wrong.items() if findings}
        assert {said(checks.everything_was_done), said(checks.workers_end_well)} <= wrong


ENDED = "SELECT min(trial_id) FROM trials WHERE study_id = 1 AND state IN ('COMPLETE', 'PRUNED')"
ONE = f"trial_id = ({ENDED})"
DAMAGES = [
    (
        f"UPDATE trial_intermediate_values SET trial_intermediate_value_id = 1000000 WHERE step = 5 AND {ONE}",
        checks.reports_arrived_in_order,
    ),
    (f"DELETE FROM trial_intermediate_values WHERE step = 10 AND {ONE}", checks.reports_are_right),
    (
        f"INSERT INTO trial_user_attributes (trial_id, key, value_json) SELECT ({ENDED}), 'failure', '\"lost\"'",
        checks.nothing_is_inherited,
    ),
    (
        "UPDATE study_user_attributes SET value_json = '{}' WHERE key LIKE 'confirmed:%'",
        checks.confirmations_are_logged,
    ),
    (
        "UPDATE trial_user_attributes SET value_json = '100000' WHERE key = 'retries'",
        checks.one_successor_each,
    ),
    (f"UPDATE trials SET state = 'RUNNING' WHERE {ONE}", checks.nothing_is_left),
    (
        "WITH other AS (INSERT INTO studies (study_name) VALUES ('elsewhere') RETURNING study_id) "
        f"UPDATE trials SET study_id = (SELECT study_id FROM other) WHERE {ONE}",
        checks.count_is_exact,
    ),
    (
        "UPDATE trial_user_attributes SET value_json = '4711' WHERE key = 'seed'",
        checks.every_confirmation_is_there,
    ),
]


def _damage(url: str, statement: str) -> None:
    with sa.create_engine(parse_url(url), poolclass=sa.NullPool).begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount >= 1, statement


def test_what_happens_hangs_on_the_seed_alone() -> None:
    assert events(LARGE, 7) == events(LARGE, 7) != events(LARGE, 8)
    drawn = events(LARGE, 7)
    assert Counter(e.kind for e in drawn) == {kind: LARGE.count(kind) for kind in KINDS}
    assert sum(e.kind == "kill" and e.ended >= LARGE.trials for e in drawn) == 6  # a tenth meets the confirmations
    assert [e.ended for e in drawn] == sorted(e.ended for e in drawn)


def _shifted(told: Any) -> None:
    before = time.monotonic(), time.time(), datetime.datetime.now(datetime.UTC)
    shift_clock(3600.0)
    import optuna.storages._in_memory as taken

    now = taken.datetime.now()  # type: ignore[attr-defined]
    told.put((time.time() - before[1], (datetime.datetime.now(datetime.UTC) - before[2]).total_seconds()))
    told.put(((now - datetime.datetime.fromtimestamp(before[1])).total_seconds(), isinstance(before[2], type(now))))


def test_a_wrong_clock_is_wrong_for_all_that_ask_python() -> None:
    context = get_context("forkserver")
    told = context.Queue()
    process = context.Process(target=_shifted, args=(told,))
    process.start()
    by_time, by_datetime = told.get(timeout=CLI_SECONDS)
    by_optuna, is_datetime = told.get(timeout=CLI_SECONDS)
    process.join(CLI_SECONDS)
    for shown in (by_time, by_datetime, by_optuna):
        assert 3600 <= shown < 3700
    assert is_datetime


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer(taken: socket.socket) -> None:
        with taken, contextlib.suppress(ConnectionResetError):
            while data := taken.recv(100):
                taken.sendall(data)

    def serve() -> None:
        while True:
            try:
                taken, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(taken,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1]
    listening.close()


def _echoed(connection: socket.socket) -> bytes:
    connection.sendall(b"there")
    return connection.recv(100)


def test_a_network_is_cut_in_silence_or_refuses_and_heals(echo: int) -> None:
    network = Network(echo)
    try:
        with socket.create_connection(("127.0.0.1", network.port), timeout=0.3) as held:
            assert _echoed(held) == b"there"
            network.hold()
            with pytest.raises(TimeoutError):
                _echoed(held)
            network.heal()
            with pytest.raises(OSError, match="reset"):
                _echoed(held)
        with socket.create_connection(("127.0.0.1", network.port), timeout=5) as again:
            assert _echoed(again) == b"there"
            network.refuse()
            with pytest.raises(OSError, match="reset"):
                _echoed(again)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", network.port), timeout=5)
        network.heal()
        with socket.create_connection(("127.0.0.1", network.port), timeout=5) as at_last:
            assert _echoed(at_last) == b"there"
    finally:
        network.close()
