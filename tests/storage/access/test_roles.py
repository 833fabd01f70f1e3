"""What a worker's credential can't do, tried on real servers: each refusal by its SQLSTATE."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import optuna
import psycopg2
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from storage.access import roles
from storage.errors import DeniedError, LoginError, StorageError
from storage.queue.trial_queue import Claim, NoClaim, TrialQueue
from storage.server.database import Database, connect, parse_url
from tests.conftest import database_with_tables, fresh_database
from tests.tls import NAME, TlsServer, make_authority

REFUSED = "42501"
FORBIDDEN = {
    "create a table": "CREATE TABLE mine (x int)",
    "create a temporary table": "CREATE TEMPORARY TABLE mine (x int)",
    "create a schema": "CREATE SCHEMA mine",
    "create a function": "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "create an extension": "CREATE EXTENSION {extension}",
    "create a database": "CREATE DATABASE mine",
    "add a column": "ALTER TABLE trials ADD COLUMN x int",
    "drop a table": "DROP TABLE trial_heartbeats",
    "switch row security off": "ALTER TABLE trials DISABLE ROW LEVEL SECURITY",
    "ask without row security": "SET row_security = off; SELECT * FROM trials",
    "drop a policy": "DROP POLICY lilm_read ON trials",
    "replace the rule": "CREATE OR REPLACE FUNCTION lilm_studies() RETURNS integer[] LANGUAGE sql "
    "AS 'SELECT null::integer[]'",
    "delete trials": "DELETE FROM trials",
    "delete a study": "DELETE FROM studies",
    "truncate": "TRUNCATE trials CASCADE",
    "rename its study": "UPDATE studies SET study_name = 'mine'",
    "renumber its study": "UPDATE studies SET study_id = study_id",
    "create a study": "INSERT INTO studies (study_name) VALUES ('mine')",
    "change the plan": "UPDATE study_user_attributes SET value_json = '1' WHERE key = 'plan'",
    "change who the study is": "UPDATE study_user_attributes SET value_json = '1' WHERE key = 'id'",
    "say who another is": "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES ({mine}, 'id', '1')",
    "teach the pruner": "INSERT INTO study_user_attributes (study_id, key, value_json) "
    "VALUES ({mine}, 'lessons:x', '1')",
    "change an agreed fact": "UPDATE study_user_attributes SET value_json = '1' WHERE key = 'text_sha256'",
    "run a finished trial again": "UPDATE trials SET state = 'RUNNING' WHERE trial_id = {finished}",
    "change a finished value": "UPDATE trial_values SET value = 0 WHERE trial_id = {finished}",
    "change a finished report": "UPDATE trial_intermediate_values SET intermediate_value = 0 "
    "WHERE trial_id = {finished}",
    "add to a finished trial": "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
    "VALUES ({finished}, 'x', '1')",
    "renumber a trial": "UPDATE trials SET number = 99 WHERE trial_id = {running}",
    "move a trial": "UPDATE trials SET study_id = {other} WHERE trial_id = {running}",
    "take a number early": "INSERT INTO trials (trial_id, study_id, state) VALUES (2000000000, {mine}, 'RUNNING')",
    "count ahead": "SELECT setval('trials_trial_id_seq', 2000000000)",
    "add a trial to another study": "INSERT INTO trials (study_id, state) VALUES ({other}, 'RUNNING')",
    "report to another study": "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, "
    "intermediate_value_type) VALUES ({others}, 5, 0, 'FINITE')",
    "tell another study": "INSERT INTO study_user_attributes (study_id, key, value_json) VALUES ({other}, 'x', '1')",
    "leave files in another study": "INSERT INTO lilm_artifacts VALUES ({other}, 'x', 0, '')",
    "change a file": "UPDATE lilm_artifacts SET content = ''",
    "speak for another worker": "UPDATE lilm_workers SET seen = now() WHERE name = 'of the owner'",
    "leave what none can read": "INSERT INTO trial_user_attributes (trial_id, key, value_json) "
    "VALUES ({running}, 'x', 'nonsense')",
    "make a trial unreadable": "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
    "VALUES ({running}, 'noticed_silent', 'nonsense')",
    "make a study unreadable": "INSERT INTO study_user_attributes (study_id, key, value_json) "
    "VALUES ({mine}, 'x', 'nonsense')",
    "show nonsense": "INSERT INTO study_system_attributes (study_id, key, value_json) "
    "VALUES ({mine}, 'dashboard:x', 'nonsense')",
    "start at no time": "INSERT INTO trials (study_id, state, datetime_start) VALUES ({mine}, 'RUNNING', 'infinity')",
    "end at no time": "UPDATE trials SET datetime_complete = 'infinity' WHERE trial_id = {running}",
    "report no number": "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value_type) "
    "VALUES ({running}, 5, 'FINITE')",
    "value no number": "INSERT INTO trial_values (trial_id, objective, value_type) VALUES ({running}, 0, 'FINITE')",
    "live for ever": "UPDATE trial_heartbeats SET heartbeat = 'infinity' WHERE trial_id = {running}",
    "enter another study": "INSERT INTO lilm_credentials (study_id, role, name, expires) "
    "VALUES ({other}, current_user, 'x', 'infinity')",
    "live longer": "UPDATE lilm_credentials SET expires = 'infinity'",
    "log in for longer": "ALTER ROLE {role} VALID UNTIL 'infinity'",
    "open more connections": "ALTER ROLE {role} CONNECTION LIMIT -1",
    "pass by row security": "ALTER ROLE {role} BYPASSRLS",
    "become a superuser": "ALTER ROLE {role} SUPERUSER",
    "create a role": "CREATE ROLE mine",
    "be the owner": "SET ROLE {owner}",
    "be another worker": "SET ROLE {neighbour}",
    "change the owner's password": "ALTER ROLE {owner} PASSWORD 'x'",
    "read passwords": "SELECT rolpassword FROM pg_authid",
    "read passwords elsewhere": "SELECT passwd FROM pg_shadow",
    "read a file": "SELECT pg_read_file('PG_VERSION')",
    "list files": "SELECT pg_ls_dir('.')",
    "copy to a file": "COPY trials TO '/dev/null'",
    "copy from a file": "COPY trial_params FROM '/etc/passwd'",
    "run a program": "COPY version_info TO PROGRAM 'cat > /dev/null'",
    "import a file": "SELECT lo_import('/etc/passwd')",
    "export a file": "SELECT lo_export(1, '/dev/null')",
    "change the server": "ALTER SYSTEM SET fsync = off",
    "reload the server": "SELECT pg_reload_conf()",
    "silence the log": "SET log_statement = 'none'",
    "end the owner's sessions": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{owner}'",
    "cancel another worker's": "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = '{neighbour}'",
}

ENTER_WORKER = (
    "INSERT INTO lilm_workers (study_id, name, machine, device, usd_per_hour) VALUES (:mine, :name, 'm', 'd', 1)"
)


@dataclass(frozen=True)
class Yard:
    """A database with two studies, the owner's connection and a worker's; `names` fill the forbidden acts."""

    owner: Database
    worker: Database
    url: str
    names: dict[str, object]

    def refused(self, act: str) -> str:
        """Return the SQLSTATE of an act, which the database must refuse."""
        with contextlib.closing(psycopg2.connect(self.url)) as session:
            session.autocommit = True  # some acts are refused to anyone inside a transaction
            with pytest.raises(psycopg2.Error) as caught:
                session.cursor().execute(act.format(**self.names))
        return str(caught.value.pgcode)


def plain(url: str) -> str:
    return parse_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def login(server: str, issued: roles.NewCredential) -> str:
    return plain(parse_url(server).set(username=issued.role, password=issued.password).render_as_string(False))


def make_study(database: Database, name: str) -> tuple[optuna.Study, TrialQueue]:
    study = optuna.create_study(study_name=name, storage=database.storage)
    study.set_user_attr("plan", "the owner's")
    study.set_user_attr("text_sha256", "agreed")
    study.set_user_attr("id", "known")
    return study, TrialQueue(database, name, grace_seconds=60)


def claimed(queue: TrialQueue) -> int:
    claim = queue.claim("someone", 99)
    assert isinstance(claim, Claim)
    return claim.trial_id


def make_yard(server_url: str) -> Iterator[Yard]:
    url = database_with_tables(server_url)
    owner = connect(url)
    (mine, queue), (other, others) = (make_study(owner, name) for name in ("mine", "other"))
    finished, running = claimed(queue), claimed(queue)
    owner.storage.set_trial_intermediate_value(finished, 5, 1.0)
    queue.finish(finished, TrialState.COMPLETE, 1.0)
    made = {n: roles.new(owner, [mine._study_id], name=n, lifetime_seconds=3600) for n in ("one", "neighbour")}
    with owner.engine.begin() as connection:
        add = ENTER_WORKER.replace(":name", "'of the owner'")
        connection.execute(sa.text(add), {"mine": mine._study_id})
        file = sa.text("INSERT INTO lilm_artifacts VALUES (:s, 'a', 0, '')")
        connection.execute(file, {"s": mine._study_id})
        extensions = "SELECT name FROM pg_available_extensions WHERE installed_version IS NULL ORDER BY name LIMIT 1"
        extension = connection.scalar(sa.text(extensions))
    names = {
        "mine": mine._study_id,
        "other": other._study_id,
        "finished": finished,
        "running": running,
        "others": claimed(others),
        "role": made["one"].role,
        "neighbour": made["neighbour"].role,
        "owner": parse_url(url).username,
        "extension": f'"{extension}"',
    }
    neighbour = connect(login(url, made["neighbour"]))
    worker = connect(login(url, made["one"]))
    for database in (owner, neighbour):
        database.engine.connect().close()  # the pool keeps it: a session that a worker may try to end
    yield Yard(owner, worker, login(url, made["one"]), names)
    for database in (owner, worker, neighbour):
        database.close()


@pytest.fixture(scope="module", params=["embedded", "system"])
def yard(request: pytest.FixtureRequest) -> Iterator[Yard]:
    yield from make_yard(request.getfixturevalue(f"{request.param}_url"))


@pytest.mark.parametrize("act", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_a_worker_is_refused(yard: Yard, act: str) -> None:
    assert yard.refused(act) == REFUSED


def test_the_same_acts_are_not_refused_to_the_owner(yard: Yard) -> None:
    """Or the refusals above would say nothing of rights: a misspelt statement fails for everyone."""
    failed = {}
    for what, act in FORBIDDEN.items():
        with yard.owner.engine.connect() as connection:
            try:
                connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
                for statement in act.format(**yard.names).split("; "):
                    explained = statement.startswith(("UPDATE", "DELETE", "INSERT", "SELECT"))
                    connection.exec_driver_sql(f"EXPLAIN {statement}" if explained else statement)
            except sa.exc.DBAPIError as error:
                failed[what] = str(getattr(error.orig, "pgcode", error.orig))
            connection.rollback()
    beyond_rights = {"create a database": "25001", "change the server": "25001", "copy from a file": "22P02"}
    assert failed.items() <= beyond_rights.items()


def test_other_studies_are_not_there(yard: Yard) -> None:
    tables = ("studies", "study_user_attributes", "study_system_attributes", "study_directions", "trials")
    with yard.worker.engine.connect() as connection:
        for table in (*tables, "lilm_workers", "lilm_artifacts", "lilm_credentials"):
            seen = set(connection.execute(sa.text(f"SELECT DISTINCT study_id FROM {table}")).scalars())
            assert seen <= {yard.names["mine"]}, table
        for table in ("user_attributes", "intermediate_values", "values", "params", "heartbeats"):
            seen = set(connection.execute(sa.text(f"SELECT trial_id FROM trial_{table}")).scalars())
            assert yard.names["others"] not in seen, table
        roles_seen = connection.execute(sa.text("SELECT role FROM lilm_credentials")).scalars().all()
        assert roles_seen == [yard.names["role"]]
    assert [s.study_name for s in yard.worker.storage.get_all_studies()] == ["mine"]
    assert len(yard.owner.storage.get_all_studies()) == 2
    for change in ("state = 'FAIL'", "number = number"):
        with yard.worker.engine.begin() as connection:
            update = sa.text(f"UPDATE trials SET {change} WHERE trial_id = :other")
            assert connection.execute(update, {"other": yard.names["others"]}).rowcount == 0


def test_a_worker_can_do_its_work(yard: Yard) -> None:
    queue = TrialQueue(yard.worker, "mine", grace_seconds=60)
    assert queue.enqueue({"x": 1.0}, {"grid": 0})
    claim = queue.claim("one", 0)
    assert isinstance(claim, Claim)
    assert queue.beat(claim.trial_id)
    for value in (2.0, 2.5):
        yard.worker.storage.set_trial_intermediate_value(claim.trial_id, 10, value)
        yard.worker.storage.set_trial_user_attr(claim.trial_id, "loss", value)
    trial = optuna.trial.Trial(optuna.load_study(study_name="mine", storage=yard.worker.storage), claim.trial_id)
    assert trial.suggest_float("x", 0, 2) == 1.0
    assert queue.finish(claim.trial_id, TrialState.COMPLETE, 2.5)
    assert queue.finish(claim.trial_id, TrialState.COMPLETE, 2.5)
    assert not queue.finish(claim.trial_id, TrialState.COMPLETE, 2.0)
    again = queue.claim("one", 99)
    assert isinstance(again, Claim)
    assert queue.fail(again.trial_id, "lost")
    taken = queue.claim("one", 0)
    assert isinstance(taken, Claim)
    assert taken.user_attrs["retries"] == again.number
    assert queue.finish(taken.trial_id, TrialState.PRUNED, 3.0)
    assert queue.claim("one", 0) is NoClaim.WAIT  # the owner's runs
    mine = optuna.load_study(study_name="mine", storage=yard.worker.storage)
    mine.set_user_attr("confirmed:trial 1", {"bpb": 1.0})
    mine.set_user_attr("confirmed:trial 1", {"bpb": 2.0})
    stored = yard.owner.storage.get_trial(claim.trial_id)
    assert (stored.value, stored.intermediate_values, stored.user_attrs["loss"]) == (2.5, {10: 2.5}, 2.5)


def test_a_worker_speaks_for_itself_only(yard: Yard) -> None:
    with yard.worker.engine.begin() as connection:
        connection.execute(sa.text(ENTER_WORKER), {"mine": yard.names["mine"], "name": "me"})
        seen = sa.text("UPDATE lilm_workers SET seen = now(), ended = now() WHERE name = 'me'")
        assert connection.execute(seen).rowcount == 1
    (entry,) = [c for c in roles.listed(yard.owner) if c.name == "one"]
    assert entry.seen is not None
    assert (entry.state, entry.study, entry.role) == ("valid", "mine", yard.names["role"])


def test_refusals_are_one_sentence(yard: Yard) -> None:
    with pytest.raises(DeniedError, match=r"may not do this: permission denied for table studies\. Ask"):
        yard.worker.retrying(lambda: optuna.create_study(study_name="x", storage=yard.worker.storage))
    with pytest.raises(DeniedError, match="may not make roles; as a superuser: ALTER ROLE"):
        roles.new(yard.worker, [1], name="more", lifetime_seconds=60)
    for name in ("One", "", "a b", 'x"; DROP ROLE postgres; --', "x" * 33):
        with pytest.raises(StorageError, match="must be 1 to 32 of a-z"):
            roles.new(yard.owner, [1], name=name, lifetime_seconds=60)
    with pytest.raises(StorageError, match="a credential is named one"):
        roles.new(yard.owner, [1], name="one", lifetime_seconds=60)
    with pytest.raises(StorageError, match="no credential is named two; there are: one, neighbour"):
        roles.revoke(yard.owner, "two")


@pytest.mark.parametrize(
    ("broken", "attempt"),
    [
        ("ALTER TABLE trials DISABLE ROW LEVEL SECURITY", "INSERT INTO trials (study_id, state) VALUES (0, 'FAIL')"),
        ("DROP POLICY lilm_change ON studies", "UPDATE studies SET study_id = study_id"),
        ("DROP TRIGGER lilm_keep_finished ON trials", "UPDATE trials SET state = 'RUNNING' WHERE number = 0"),
        ("GRANT DELETE ON trials TO {group}", "DELETE FROM trials"),
    ],
)
def test_the_next_credential_puts_broken_rules_right(broken: str, attempt: str, database_url: str) -> None:
    owner = connect(database_url)
    study, queue = make_study(owner, "mine")
    queue.finish(claimed(queue), TrialState.COMPLETE, 1.0)
    first = roles.new(owner, [study._study_id], name="first", lifetime_seconds=60)
    with owner.engine.begin() as connection:
        (group,) = roles._groups(connection)
        connection.exec_driver_sql(broken.format(group=group))
    roles.new(owner, [study._study_id], name="second", lifetime_seconds=60)
    with contextlib.closing(psycopg2.connect(login(database_url, first))) as session:
        cursor = session.cursor()
        with pytest.raises(psycopg2.Error) as caught:
            cursor.execute(attempt)
    assert caught.value.pgcode == REFUSED
    owner.close()


def test_a_renamed_database_keeps_its_workers_apart(any_server_url: str) -> None:
    """The next credential finds the group that has the rights, whatever the database was called then."""
    url = database_with_tables(any_server_url)
    owner = connect(url)
    studies = [make_study(owner, name)[0] for name in ("mine", "other")]
    one = roles.new(owner, [studies[0]._study_id], name="one", lifetime_seconds=3600)
    owner.close()
    renamed = f"{parse_url(url).database}_renamed"
    with sa.create_engine(parse_url(any_server_url), isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f'ALTER DATABASE "{parse_url(url).database}" RENAME TO "{renamed}"')
        connection.exec_driver_sql(f'CREATE DATABASE "{parse_url(url).database}"')
    url, namesake = plain(parse_url(url).set(database=renamed).render_as_string(False)), url
    owner, next_to_it = connect(url), connect(namesake)
    two = roles.new(owner, [studies[1]._study_id], name="two", lifetime_seconds=3600)
    elsewhere = roles.new(next_to_it, [make_study(next_to_it, "third")[0]._study_id], name="box", lifetime_seconds=3600)
    for issued, study in ((one, "mine"), (two, "other")):
        with contextlib.closing(psycopg2.connect(login(url, issued))) as session, session.cursor() as cursor:
            cursor.execute("SELECT study_name FROM studies")
            assert cursor.fetchall() == [(study,)]
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("UPDATE study_user_attributes SET value_json = '1' WHERE key = 'plan'")
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(login(namesake, issued))
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(login(url, elsewhere))
    for database in (owner, next_to_it):
        database.close()


def test_rights_of_older_groups_are_a_workers_rights(database: Database, database_url: str) -> None:
    """Groups were once named after the database, and a rename left one behind: its members stay workers."""
    study, _ = make_study(database, "mine")
    make_study(database, "other")
    first = roles.new(database, [study._study_id], name="first", lifetime_seconds=60)
    older = f"lilm_workers_older_{parse_url(database_url).database}"
    with database.engine.begin() as connection:
        (group,) = roles._groups(connection)
        connection.exec_driver_sql(f'ALTER ROLE "{group}" RENAME TO "{older}"')
        connection.exec_driver_sql(f'CREATE ROLE "{group}"')
        connection.exec_driver_sql(f'GRANT SELECT ON studies TO "{group}"')
        connection.exec_driver_sql(f'GRANT DELETE ON trials TO "{older}"')
        assert roles._groups(connection) == [group, older]
    roles.new(database, [study._study_id], name="second", lifetime_seconds=60)
    with contextlib.closing(psycopg2.connect(login(database_url, first))) as session, session.cursor() as cursor:
        cursor.execute("SELECT study_name FROM studies")
        assert cursor.fetchall() == [("mine",)]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM trials")


def test_an_owner_who_is_no_superuser(any_server_url: str) -> None:
    """CREATEROLE and the database are enough to make a credential, and to end its sessions."""
    url = fresh_database(any_server_url)
    name = parse_url(url).database
    with sa.create_engine(parse_url(url), isolation_level="AUTOCOMMIT").connect() as connection:
        connection.exec_driver_sql(f"CREATE ROLE \"o_{name}\" LOGIN CREATEROLE PASSWORD 'only-for-this-test'")
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" OWNER TO "o_{name}"')
        connection.exec_driver_sql(f'GRANT CREATE ON SCHEMA public TO "o_{name}"')
    owner = connect(
        plain(parse_url(url).set(username=f"o_{name}", password="only-for-this-test").render_as_string(False))
    )
    study, _ = make_study(owner, "mine")
    issued = roles.new(owner, [study._study_id], name="box", lifetime_seconds=3600)
    worker = connect(login(url, issued))
    queue = TrialQueue(worker, "mine", grace_seconds=60)
    assert isinstance(queue.claim("w", 1), Claim)
    assert roles.revoke(owner, "box") > 0
    with pytest.raises(LoginError, match="credential new"):
        worker.retrying(lambda: worker.storage.get_all_studies())
    assert roles.listed(owner) == []
    owner.close()
    worker.close()


def test_an_expired_credential_ends_in_the_middle_of_its_session(tls_server: TlsServer) -> None:
    url = database_with_tables(tls_server.url)
    owner = connect(url)
    study, _ = make_study(owner, "mine")
    issued = roles.new(owner, [study._study_id], name="brief", lifetime_seconds=1.5)
    with contextlib.closing(psycopg2.connect(login(url, issued))) as session:
        cursor = session.cursor()
        cursor.execute("SELECT count(*) FROM studies")
        assert cursor.fetchone() == (1,)
        session.rollback()
        time.sleep(max(0.0, issued.expires.timestamp() + 0.1 - time.time()))
        for act in (
            "SELECT * FROM studies",
            f"INSERT INTO trials (study_id, state) VALUES ({study._study_id}, 'RUNNING')",
        ):
            with pytest.raises(psycopg2.Error, match="expired at") as caught:
                cursor.execute(act)
            assert caught.value.pgcode == "28000"
            session.rollback()
        with pytest.raises(LoginError, match=r"has expired or was revoked.*credential new"):
            connect(login(url, issued))
        assert f'28P01 FATAL:  password authentication failed for user "{issued.role}"' in tls_server.log
        assert [c.state for c in roles.listed(owner)] == ["expired"]  # which also ends the session
        with pytest.raises(psycopg2.OperationalError, match=r"terminating connection|been closed"):
            cursor.execute("SELECT 1")
    owner.close()


def test_logins_that_a_credential_does_not_allow(tls_server: TlsServer) -> None:
    url = database_with_tables(tls_server.url)
    owner = connect(url)
    study, _ = make_study(owner, "mine")
    issued = roles.new(owner, [study._study_id], name="box", lifetime_seconds=3600, connections=2)
    assert issued.gaps == []
    mine = login(url, issued)
    held = [psycopg2.connect(mine) for _ in range(2)]
    elsewhere = plain(parse_url(mine).set(database="postgres").render_as_string(False))
    template = plain(parse_url(mine).set(database="template1").render_as_string(False))
    for address, state, message in [
        (mine, "53300", f'too many connections for role "{issued.role}"'),
        (f"{mine}?sslmode=disable", "28000", "no pg_hba.conf entry"),
        (mine.replace(issued.password, "another"), "28P01", "password authentication failed"),
    ]:
        with pytest.raises(psycopg2.OperationalError, match=message[:20]):
            psycopg2.connect(address)
        assert f"{state} FATAL:  {message}" in tls_server.log
    held.pop().close()
    deadline = time.monotonic() + 5
    for address, name in ((elsewhere, "postgres"), (template, "template1")):
        while True:
            with pytest.raises(psycopg2.OperationalError) as caught:
                psycopg2.connect(address)
            if "too many" not in str(caught.value) or time.monotonic() > deadline:
                break
        assert f'42501 FATAL:  permission denied for database "{name}"' in tls_server.log
    held.pop().close()
    owner.close()


def test_no_password_reaches_the_servers_log(tls_server: TlsServer) -> None:
    """It logs every statement here: what it is sent is the verifier."""
    url = database_with_tables(tls_server.url)
    owner = connect(url)
    study, _ = make_study(owner, "mine")
    issued = roles.new(owner, [study._study_id], name="box", lifetime_seconds=3600)
    connect(login(url, issued)).close()
    assert f'CREATE ROLE "{issued.role}"' in tls_server.log
    assert issued.password not in tls_server.log
    assert str(parse_url(url).password) not in tls_server.log
    owner.close()


def test_a_server_must_prove_its_name(tls_server: TlsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = fresh_database(tls_server.url)
    remote = parse_url(url).set(host=NAME).update_query_dict({"hostaddr": "127.0.0.1"})
    address = plain(remote.render_as_string(False))
    other = make_authority(tls_server.folder, "other")
    for authority in (None, str(other)):
        monkeypatch.setenv("LILM_SEARCH_CA", authority) if authority else None
        with pytest.raises(LoginError, match=r"is not proven.*certificate verify failed.*LILM_SEARCH_CA"):
            connect(address)
    for authority in (str(tls_server.authority), tls_server.authority.read_text()):
        monkeypatch.setenv("LILM_SEARCH_CA", authority)
        database = connect(address)
        with database.engine.connect() as connection:
            ssl = connection.scalar(sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
            assert ssl is True
        database.close()
    wrong = plain(remote.set(host="elsewhere.lilm.test").render_as_string(False))
    with pytest.raises(LoginError, match=r"is not proven.*does not match host name"):
        connect(wrong)
