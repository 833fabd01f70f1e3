"""Backups of the postgres service, and their way back into a fresh server."""

import datetime
import os
import signal
import subprocess
from pathlib import Path

import optuna
import psycopg2
import pytest
import sqlalchemy as sa

from storage.access import roles
from storage.server.database import connect
from storage.server.tables import artifacts
from tests.conftest import CLI_SECONDS
from tests.deploy import machine

SCRIPT = str(machine.ROOT / "deploy" / "backup.sh")
RESTORE = str(machine.ROOT / "deploy" / "restore.sh")


def dump(day: datetime.date | str, hour: int = 3) -> str:
    return f"lilm-{str(day).replace('-', '')}T{hour:02}0000Z.dump"


def kept(names: list[str], **env: str) -> list[str]:
    """Names that the script would keep, newest first."""
    done = machine.run(["bash", SCRIPT, "keep"], {"PATH": os.environ["PATH"]} | env, "".join(f"{n}\n" for n in names))
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_newest_of_seven_days_and_of_four_weeks_are_kept() -> None:
    """Worked by hand: 21 November 2026 is a Saturday; its week began on Monday the 16th."""
    days = [datetime.date(2026, 10, 1) + datetime.timedelta(n) for n in range(52)]
    assert days[-1] == datetime.date(2026, 11, 21)
    # 15 November: the seventh day, and the newest of its week as well; then the Sundays of two more weeks.
    wanted = [f"2026-11-{d}" for d in (21, 20, 19, 18, 17, 16, 15)] + ["2026-11-08", "2026-11-01"]
    assert kept([dump(d) for d in days]) == [dump(d) for d in wanted]


def test_of_one_day_the_last_is_kept_and_days_without_dumps_cost_none() -> None:
    names = [dump("2026-11-21", 3), dump("2026-11-21", 15), dump("2025-01-05"), dump("2024-12-30"), dump("2024-12-29")]
    # 30 December 2024 is a Monday of 2025's first week, as is 5 January 2025, a Sunday.
    assert kept(names, KEEP_DAYS="1", KEEP_WEEKS="3") == [names[1], names[2], names[4]]
    assert kept(names, KEEP_DAYS="9") == [names[1], names[2], names[3], names[4]]
    assert kept([]) == []


def backup(server: machine.Server, folder: Path, **env: str) -> dict[str, str]:
    """What the backups service finds in its container, with this machine's places."""
    service = machine.compose()["services"]["backups"]["environment"]
    places = {k: v.replace("/keys/", f"{server.folder}/out/backups/") for k, v in service.items() if k.startswith("PG")}
    return server.env(**places) | {"PGHOST": "localhost", "FOLDER": str(folder)} | env


@pytest.fixture
def dumps(server: machine.Server) -> Path:
    """The dumps' volume, as setup.sh made it, empty."""
    folder = server.folder / "out" / "dumps"
    for old in folder.iterdir():
        old.unlink()
    return folder


def fill(url: str, name: str) -> None:
    """A study with all that Optuna keeps of one, and a file in our own table."""
    opened = connect(url)
    study = optuna.create_study(study_name=name, storage=opened.storage)
    study.set_user_attr("plan", "a = 1")
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1, log=True)
    }
    for number in range(5):
        made = optuna.trial.create_trial(
            params={"lr": 0.1 / (number + 1)},
            distributions=space,
            value=None if number == 3 else 1.5 - number / 7,
            state=optuna.trial.TrialState.FAIL if number == 3 else optuna.trial.TrialState.COMPLETE,
            intermediate_values={step: 3.0 / step for step in (5, 10)},
            user_attrs={"worker": f"machine/{number}"},
        )
        study.add_trial(made)
    with opened.engine.begin() as connection:
        row = {"study_id": study._study_id, "artifact_id": f"file of {name}", "part": 0, "content": bytes(range(256))}
        connection.execute(artifacts.insert(), row)
    opened.close()


def seen(url: str) -> object:
    """All that a server holds, as Optuna and SQL read it."""
    opened = connect(url)
    studies = [
        (s.study_name, s.user_attrs, optuna.load_study(study_name=s.study_name, storage=opened.storage).get_trials())
        for s in optuna.get_all_study_summaries(opened.storage)
    ]
    with opened.engine.connect() as connection:
        files = [tuple(row) for row in connection.execute(sa.select(artifacts))]
    opened.close()
    return studies, files


def test_a_dump_restores_into_a_fresh_server(server: machine.Server, other_server: machine.Server, dumps: Path) -> None:
    fill(server.owner_url(), "kept")
    (dumps / dump("2026-01-01")).touch()
    server.inside("bash", SCRIPT, "once", **backup(server, dumps, KEEP_DAYS="1", KEEP_WEEKS="1"))
    (made,) = dumps.iterdir()  # the old one is gone
    assert made.stat().st_mode & 0o077 == 0
    fill(other_server.owner_url(), "what was there before")
    places = {"KEYS": str(other_server.keys), "FOLDER": str(machine.ROOT / "deploy")}
    with psycopg2.connect(other_server.owner_url()):  # somebody is at work meanwhile
        env = other_server.env(**places)
        with made.open("rb") as carried:
            who = machine.as_postgres()
            done = subprocess.run(
                ["bash", RESTORE, "-"], stdin=carried, env=env, capture_output=True, timeout=120, check=False, **who
            )
    said = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert seen(other_server.owner_url()) == seen(server.owner_url())
    assert seen(other_server.reader_url()) == seen(server.reader_url())
    before = said.split()[-1]
    assert other_server.sql("SELECT study_name FROM studies", before) == "what was there before"
    fill(other_server.owner_url(), "next")  # counters go on where they were


def test_on_the_same_server_workers_keep_their_rights(server: machine.Server, dumps: Path) -> None:
    server.sql("CREATE ROLE worker LOGIN PASSWORD 'known'; GRANT CONNECT ON DATABASE lilm TO worker")
    server.sql("SET ROLE lilm; GRANT USAGE ON SCHEMA public TO worker")
    server.sql("SET ROLE lilm; GRANT SELECT, INSERT (study_name) ON studies TO worker")
    server.inside("bash", SCRIPT, "once", **backup(server, dumps))
    (made,) = dumps.iterdir()
    server.inside("bash", RESTORE, str(made), KEYS=str(server.keys), FOLDER=str(machine.ROOT / "deploy"))
    url = server.url("tables", "worker", passfile="/nowhere", password="known")
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT has_column_privilege('studies', 'study_name', 'INSERT'), count(*) FROM studies")
        assert cursor.fetchone() == (True, len(optuna_studies(server)))
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM studies")
    server.sql("REVOKE CONNECT ON DATABASE lilm FROM worker")


def test_on_the_same_server_credentials_stay_what_they_were(server: machine.Server, dumps: Path) -> None:
    """The restored database is another one, under the same name: the next credential makes owners of no workers."""
    fill(server.owner_url(), "theirs")
    fill(server.owner_url(), "others")
    owner = connect(server.owner_url())
    study_id = owner.storage.get_study_id_from_name("theirs")
    issued = roles.new(owner, [study_id], name="kept", lifetime_seconds=3600)
    owner.close()
    server.inside("bash", SCRIPT, "once", **backup(server, dumps))
    (made,) = dumps.iterdir()
    server.inside("bash", RESTORE, str(made), KEYS=str(server.keys), FOLDER=str(machine.ROOT / "deploy"))
    url = server.url("tables", issued.role, passfile="/nowhere", password=issued.password)
    for next_name in ("", "next"):
        owner = connect(server.owner_url())
        if next_name:
            roles.new(owner, [owner.storage.get_study_id_from_name("others")], name=next_name, lifetime_seconds=3600)
        with psycopg2.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT study_name FROM studies")
            assert cursor.fetchall() == [("theirs",)]
            cursor.execute("INSERT INTO trials (study_id, state, number) VALUES (%s, 'FAIL', 99)", (study_id,))
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute("DELETE FROM trials")
            connection.rollback()
        connection.close()
        owner.close()
    owner = connect(server.owner_url())
    for name in ("kept", "next"):
        roles.revoke(owner, name)
    owner.close()


def optuna_studies(server: machine.Server) -> list[str]:
    opened = connect(server.reader_url())
    names = [s.study_name for s in opened.storage.get_all_studies()]
    opened.close()
    return names


def test_what_is_no_whole_dump_changes_nothing(server: machine.Server, dumps: Path) -> None:
    server.inside("bash", SCRIPT, "once", **backup(server, dumps))
    (made,) = dumps.iterdir()
    half = server.folder / "half.dump"
    half.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    env = server.env(KEYS=str(server.keys), FOLDER=str(machine.ROOT / "deploy"))
    for wrong in (half, server.folder / "absent.dump"):
        done = machine.run(["bash", RESTORE, str(wrong)], env, **machine.as_postgres())
        assert done.returncode != 0
    assert server.sql("SELECT count(*) FROM pg_database WHERE datname LIKE 'lilm_restored%'") == "0"


def test_a_backup_that_is_killed_leaves_no_dump(server: machine.Server, dumps: Path) -> None:
    with psycopg2.connect(server.owner_url()) as connection, connection.cursor() as cursor:
        cursor.execute("LOCK TABLE trials")  # the dump has begun and waits
        command = ["bash", SCRIPT, "once"]
        process = subprocess.Popen(command, env=backup(server, dumps), start_new_session=True, **machine.as_postgres())
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump' AND wait_event_type = 'Lock'"
        )
        while server.sql(waiting) != "1":
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(CLI_SECONDS)
    assert [p.suffix for p in dumps.iterdir()] in ([], [".part"])
    refused = machine.run(["bash", SCRIPT, "check"], backup(server, dumps), **machine.as_postgres())
    assert refused.returncode == 1
    server.inside("bash", SCRIPT, "once", **backup(server, dumps))
    assert [p.suffix for p in dumps.iterdir()] == [".dump"]
    server.inside("bash", SCRIPT, "check", **backup(server, dumps))


def test_a_server_that_is_away_is_said_and_costs_no_old_dump(server: machine.Server, dumps: Path) -> None:
    (dumps / dump("2020-01-01")).touch()
    env = backup(server, dumps, PGPORT="1", KEEP_DAYS="1", KEEP_WEEKS="1")
    done = machine.run(["bash", SCRIPT, "once"], env, **machine.as_postgres())
    assert done.returncode != 0
    assert [p.name for p in dumps.iterdir()] == [dump("2020-01-01")]
    assert machine.run(["bash", SCRIPT, "check"], env, **machine.as_postgres()).returncode == 1


def test_the_service_dumps_at_once_when_the_newest_is_old_and_ends_when_asked(
    server: machine.Server, dumps: Path
) -> None:
    (dumps / dump("2020-01-01")).touch()
    command = ["bash", SCRIPT, "loop"]
    env = backup(server, dumps)
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, **machine.as_postgres()) as process:
        assert process.stdout is not None
        assert "bytes" in process.stdout.readline()
        process.terminate()
        assert process.wait(CLI_SECONDS) == 0
    assert len(list(dumps.iterdir())) == 2
