"""The postgres service as docker-compose.yml starts it, tried by real clients."""

from pathlib import Path

import psycopg2
import pytest

from storage.errors import StorageError
from storage.server.database import connect
from storage.server.embedded import installed_programs
from tests.deploy import machine


def login(url: str) -> str:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        encrypted, version = cursor.fetchone()
        assert encrypted
        return f"{connection.info.user} {version}"


def refused(url: str) -> str:
    with pytest.raises(psycopg2.OperationalError) as caught:
        psycopg2.connect(url)
    return str(caught.value)


def test_a_verified_client_is_let_in_by_name_and_by_address(server: machine.Server) -> None:
    assert login(server.owner_url()) == "lilm TLSv1.3"
    assert login(server.reader_url().replace("@localhost", "@127.0.0.1")) == "lilm_reader TLSv1.3"
    named = server.url("tables", "lilm", hostaddr="127.0.0.1").replace("@localhost", "@study.example.org")
    assert login(named) == "lilm TLSv1.3"


@pytest.mark.parametrize(
    ("user", "query", "says"),
    [
        ("lilm", {"sslmode": "disable"}, "pg_hba.conf rejects connection"),
        ("lilm", {"hostaddr": "127.0.0.1", "host": "elsewhere.example.org"}, "does not match host name"),
        ("lilm", {"passfile": "/nowhere", "password": "wrong"}, "password authentication failed"),
        ("lilm_reader", {"passfile": "/nowhere"}, "no password supplied"),
        ("postgres", {"passfile": "/nowhere", "password": "any"}, "pg_hba.conf rejects connection"),
        ("lilm", {"ssl_max_protocol_version": "TLSv1.1", "ssl_min_protocol_version": "TLSv1"}, "SSL error"),
    ],
)
def test_all_others_are_refused(server: machine.Server, user: str, query: dict[str, str], says: str) -> None:
    assert says in refused(server.url("tables", user, **query))


def test_the_superusers_own_password_opens_nothing_from_the_network(server: machine.Server) -> None:
    password = (server.keys / "superuser_password").read_text().strip()
    url = server.url("tables", "postgres", passfile="/nowhere", password=password)
    assert "pg_hba.conf rejects connection" in refused(url)


def test_a_server_of_another_authority_is_not_believed(server: machine.Server, folder: Path) -> None:
    assert machine.setup(folder).returncode == 0
    other = folder / "out" / "authority" / "ca.crt"
    assert "certificate verify failed" in refused(server.url("tables", "lilm", sslrootcert=str(other)))


def test_passwords_are_kept_as_scram_and_an_md5_one_is_refused(server: machine.Server) -> None:
    kept = server.sql("SELECT rolname || ' ' || left(rolpassword, 13) FROM pg_authid WHERE rolcanlogin ORDER BY 1")
    assert {f"{name} SCRAM-SHA-256" for name in ("lilm", "lilm_reader", "postgres")} <= set(kept.splitlines())
    server.sql("SET password_encryption = md5; CREATE ROLE old_fashioned LOGIN PASSWORD 'known'")
    server.sql("GRANT CONNECT ON DATABASE lilm TO old_fashioned")
    url = server.url("tables", "old_fashioned", passfile="/nowhere", password="known")
    assert "password authentication failed" in refused(url)


def test_who_may_do_what(server: machine.Server) -> None:
    rights = (
        "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles "
        "WHERE rolname ~ '^lilm' AND rolname !~ '^lilm_workers_'"  # those that a credential brings
    )
    assert server.sql(rights + " ORDER BY 1").splitlines() == ["lilm|f|t|f|f", "lilm_reader|f|f|f|f"]
    with psycopg2.connect(server.reader_url()) as connection, connection.cursor() as cursor:
        cursor.execute("SET default_transaction_read_only = off")
        connection.commit()
        for act in (
            "INSERT INTO studies (study_name) VALUES ('mine')",
            "UPDATE studies SET study_name = 'mine'",
            "DELETE FROM trials",
            "TRUNCATE studies CASCADE",
            "DROP TABLE studies CASCADE",
            "CREATE TABLE mine (x int)",
            "CREATE TEMPORARY TABLE mine (x int)",
            "ALTER ROLE lilm PASSWORD 'mine'",
            "SELECT * FROM pg_authid",
            "SELECT pg_read_file('/etc/passwd')",
            "COPY studies TO PROGRAM 'cat'",
            "SET ROLE lilm",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(act)
            connection.rollback()


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_other_databases_are_closed(server: machine.Server, database: str) -> None:
    assert "permission denied for database" in refused(server.reader_url().replace("/lilm?", f"/{database}?"))


def test_the_flags_are_in_force_and_the_log_holds_no_password(server: machine.Server) -> None:
    shown = {f[2:].split("=")[0]: f.split("=", 1)[1] for f in server.flags()}
    with psycopg2.connect(server.owner_url()) as connection, connection.cursor() as cursor:
        for name in ("max_connections", "jit", "idle_in_transaction_session_timeout", "ssl", "tcp_keepalives_idle"):
            cursor.execute(f"SHOW {name}")
            assert cursor.fetchone() == (shown[name],)
        with pytest.raises(psycopg2.Error):
            cursor.execute("CREATE ROLE lilm LOGIN PASSWORD 'Secret-In-A-Statement'")
        connection.rollback()
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT 1/0 WHERE 'Secret-In-A-Statement' = %s", ("Secret-In-A-Value",))
        connection.rollback()
        with pytest.raises(psycopg2.Error):
            cursor.execute("SELECT 'Secret-In-A-Value'::int")
    log = server.log.read_text()
    assert 'ERROR:  role "lilm" already exists' in log  # what failed is told, the statement is not
    assert "Secret-In-A-Statement" not in log
    for name in ("owner_password", "reader_password", "superuser_password"):
        assert (server.keys / name).read_text().strip() not in log


def test_a_changed_password_is_taken_over(server: machine.Server) -> None:
    changed = machine.setup(server.folder, LILM_PASSWORD="Another-Pa55word-it-is")
    assert changed.returncode == 0, changed.stderr
    assert "password authentication failed" in refused(server.owner_url())
    server.roles()
    assert login(server.owner_url()).startswith("lilm ")
    assert machine.setup(server.folder).returncode == 0
    server.roles()


def test_tables_are_made_by_the_owner_alone(server: machine.Server) -> None:
    server.sql("CREATE DATABASE empty", "postgres")
    server.roles("empty")
    reader, owner = (url.replace("/lilm?", "/empty?") for url in (server.reader_url(), server.owner_url()))
    with pytest.raises(StorageError, match="read-only transaction"):
        connect(reader)
    connect(owner).close()
    opened = connect(reader)
    assert opened.storage.get_all_studies() == []
    opened.close()
    server.make_tables()  # again: nothing changes


def test_the_images_postgresql_knows_every_flag(server: machine.Server) -> None:
    """The embedded PostgreSQL has the image's major version, but was built without TLS."""
    programs = installed_programs()
    version = machine.run([str(programs / "postgres"), "--version"], {}).stdout
    assert f"postgres:{version.split()[2].split('.')[0]}" == machine.compose()["services"]["postgres"]["image"]
    data = f"-D{server.folder / 'data18'}"
    copied = server.folder / "data18"
    copied.mkdir()
    (copied / "postgresql.conf").write_text("")
    for flag in server.flags():
        name, value = flag[2:].split("=", 1)
        if name.startswith("ssl"):
            continue
        done = machine.run([str(programs / "postgres"), "-C", name, data, flag], {})
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == value or done.stdout.strip()[0] in "0123456789"
