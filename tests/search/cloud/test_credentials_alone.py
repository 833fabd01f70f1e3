"""Credentials on one machine: arguments are checked before anything is made; who is revoked leaves nothing running."""

import pytest
from optuna.trial import TrialState

from search.cloud.credentials import check_host, host_and_port, issue, revoke
from search.common.errors import SearchError
from storage.access.roles import listed
from storage.queue.trial_queue import Claim
from storage.registry.workers import Registry
from storage.server.database import Database, connect
from tests.search.worker.test_outages import opened


@pytest.mark.parametrize(
    ("host", "parts"),
    [("db", ("db", None)), ("db.example.org:6543", ("db.example.org", 6543)), ("::1", ("::1", None))],
)
def test_hosts(host: str, parts: tuple[str, int | None]) -> None:
    assert host_and_port(host) == parts


@pytest.mark.parametrize("host", ["http://a b", "a:99999", "a:b", ":5432", "a/b", ""])
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(SearchError, match="must be HOST or HOST:PORT"):
        host_and_port(host)


def test_no_other_machine_is_sent_to_an_embedded_server() -> None:
    check_host(None, None)
    check_host("postgresql://a@b/c", "db")
    with pytest.raises(SearchError, match="embedded PostgreSQL is out of others' reach"):
        check_host(None, "db")


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_a_revoked_machine_trained_goes_to_others_at_once(database: Database) -> None:
    study = opened(database)
    issued = issue(database, "tiny", "box", "1h")
    address = database.engine.url.set(username=issued.role, password=issued.password)
    theirs = connect(address.render_as_string(hide_password=False).replace("+psycopg2", ""))
    Registry(theirs, "tiny", grace_seconds=60).register(
        "box/1", machine="box", launch="", device="cpu", usd_per_hour=0.0
    )
    theirs.close()
    taken = study.proxy_queue.claim("box/1", 1)
    assert isinstance(taken, Claim)
    assert revoke(database, "box")[1] == 1
    lost, successor = study.proxy_trials()
    assert (lost.user_attrs["failure"], successor.state) == ("lost", TrialState.WAITING)
    assert listed(database) == []
