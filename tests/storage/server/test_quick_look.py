"""A glance counts what Optuna's own interface counts, and never waits."""

import time
from pathlib import Path

import psycopg2
import pytest
from optuna.trial import TrialState

from search.study.plan import Plan
from search.study.study import open_study
from storage.queue.trial_queue import Claim
from storage.registry.workers import Registry
from storage.server import quick_look as glance
from storage.server.database import Database, connect
from storage.server.embedded import embedded
from tests.conftest import fresh_database
from tests.search.tiny import PLAN, TRIALS

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def test_it_counts_what_there_is(database: Database, database_url: str) -> None:
    study = open_study(database, Plan.parse(PLAN, name="tiny", origin="a test"))
    for state in (TrialState.COMPLETE, TrialState.PRUNED):
        claim = study.proxy_queue.claim("one", TRIALS)
        assert isinstance(claim, Claim)
        study.proxy_queue.finish(claim.trial_id, state, 2.0)
    assert isinstance(study.proxy_queue.claim("one", TRIALS), Claim)
    Registry(database, "tiny", grace_seconds=60).register("one", machine="m", device="CPU", usd_per_hour=0)
    (seen,) = glance.studies(glance.url_settings(database_url))
    states = [t.state for t in study.proxy_trials()]
    assert seen.proxies == sum(s in (TrialState.COMPLETE, TrialState.PRUNED) for s in states) == 2
    assert seen.running == states.count(TrialState.RUNNING) == 1
    assert (seen.name, seen.asked, seen.workers) == ("tiny", TRIALS, 1)
    assert (seen.confirmed, seen.to_confirm) == (0, len(study.confirm_trials())) == (0, 1)
    assert not seen.over


def test_a_server_without_studies_has_none(embedded_url: str) -> None:
    empty = fresh_database(embedded_url)
    assert glance.studies(glance.url_settings(empty)) == []
    connect(empty).close()
    assert glance.studies(glance.url_settings(empty)) == []


def test_the_embedded_server_is_found_while_it_runs(fresh_home: Path) -> None:
    folder = fresh_home / "postgres"
    assert glance.embedded_settings(folder) is None
    with embedded(folder):
        where = glance.embedded_settings(folder)
        assert where is not None
        assert glance.studies(where) == []
    assert glance.embedded_settings(folder) is None


def test_a_silent_server_is_not_waited_for() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # takes the call, and says nothing
        started = time.monotonic()
        with pytest.raises(psycopg2.OperationalError, match="timeout"):
            glance.studies(glance.url_settings(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d"))
        assert time.monotonic() - started < 20  # rather than for ever
