"""Passwords in addresses that are broken: nothing of them is shown, whatever a parser would have made of them."""

import contextlib
import io
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from search.cli import main as cli
from storage import redaction
from storage.errors import StorageError
from storage.redaction import hide_given, redact, shown_address
from storage.server.address import ENCODING, parse_url, resolve
from tests.conftest import CLI_SECONDS
from tests.forking.client import Forked
from tests.places import ROOT

SIGNS = "@:/?#%&=+ [](){}!$'\",;\\|<>~^*é"
PASSWORDS = st.text(alphabet="abcdefgXYZ0123456789" + SIGNS, min_size=6, max_size=24).map(lambda s: f"q{s}Z9")
FORMS = (
    "postgresql://me:{}@127.0.0.1:1/x",
    "postgresql://:{}@127.0.0.1:1/x",
    "postgresql+psycopg2://me:{}@[::1]:1/x?sslmode=disable",
    "postgres:/me:{}@127.0.0.1/x",
    "postgresql:me:{}@127.0.0.1/x",
    "postgresql//me:{}@127.0.0.1/x",
    "//me:{}@127.0.0.1/x",
    "me:{}@127.0.0.1:1/x",
    ":{}@127.0.0.1",
    "mysql://me:{}@127.0.0.1:1/x",
    "nothing+known://me:{}@127.0.0.1:1/x",
    "file:postgresql://me:{}@127.0.0.1/x",
)
ISSUE = ("p@ss:w/rd#1", "s3@kr1tpw", "s3kr1t")


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LILM_SEARCH_STORAGE", "LILM_SEARCH_STORAGE_FILE", "LILM_SEARCH_PASSWORD_FILE", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


def pieces(password: str, printed: str) -> set[str]:
    """Return every piece of 4 characters of the password that is printed, but for those of our own words."""
    ours = f"{ENCODING} the storage is ***, but must be PostgreSQL: postgresql://USER:PASSWORD@HOST:PORT/DATABASE; "
    return {p for i in range(len(password) - 3) if (p := password[i : i + 4]) in printed and p not in ours}


def commands(group: Any, *path: str) -> Iterator[list[str]]:
    """Yield every command that takes an address, with what it must be given."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        elif any("--storage" in p.opts for p in command.params):
            asked = [p for p in command.params if p.required or "--study" in p.opts]
            words = [*path, name]
            for p in asked:
                value = {"--gpu": "RTX4090", "--study": "quickstart"}.get(p.opts[0], "1")
                words += [p.opts[0], value] if p.opts[0].startswith("-") else [value]
            yield words


COMMANDS = list(commands(typer.main.get_command(cli.app)))


def printed(*words: str) -> str:
    """Return all that the command prints, run in this process as a person would run it."""
    output = io.StringIO()
    streams = sys.stdout, sys.stderr, sys.argv
    sys.stdout = sys.stderr = output
    sys.argv = ["lilm-search", *words]
    try:
        with contextlib.suppress(SystemExit):
            cli.main()
    finally:
        sys.stdout, sys.stderr, sys.argv = streams
    return output.getvalue()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands begin no longer than it takes to refuse an address, and leave this process as it is."""
    for name in ("gpu", "system"):
        monkeypatch.setattr(f"search.doctor.{name}.checks", list)
    monkeypatch.setattr("search.study.connection.MAX_AWAY_SECONDS", 0.0)
    monkeypatch.setattr("search.common.signals.StopRequest.install", lambda self: None)


def test_many_commands_take_an_address() -> None:
    assert {words[0] for words in COMMANDS} >= {"start", "worker", "status", "replay", "doctor", "credential", "launch"}
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(password=PASSWORDS, form=st.sampled_from(FORMS))
@example(password=ISSUE[0], form=FORMS[0])
@example(password=ISSUE[1], form="me:{}@localhost")
@example(password=ISSUE[2], form="me:{}@localhost:5432/x")
def test_no_command_prints_a_piece_of_a_password(words: list[str], quick: None, password: str, form: str) -> None:
    redaction._known.clear()
    said = printed(*words, "--storage", form.format(password))
    assert said
    assert not pieces(password, said), said
    assert "Traceback" not in said


@settings(max_examples=150, deadline=None)
@given(password=PASSWORDS, form=st.sampled_from(FORMS))
def test_no_message_holds_a_piece_of_a_password(password: str, form: str) -> None:
    """Of each way in alone, with nothing known beforehand."""
    address = form.format(password)
    for way in (shown_address, parse_url, resolve, lambda a: resolve(f"file:{a}")):
        redaction._known.clear()
        try:
            answer = way(address)
            said = answer if isinstance(answer, str) else ""
        except StorageError as error:
            said = str(error)
        assert not pieces(password, said), said
        later = f'could not translate host name "{address.partition("@")[2]}": {password!r} in {address}'
        assert not pieces(password, redact(later)), redact(later)


@pytest.mark.parametrize("password", ['q000//"Z9', "a/./bcd/?e", "first///second"])
def test_nor_does_one_that_names_a_file_which_writes_slashes_singly(password: str) -> None:
    redaction._known.clear()
    with pytest.raises(StorageError) as error:
        resolve(f"file:postgresql:me:{password}@127.0.0.1/x")
    assert not pieces(password, str(error.value)), str(error.value)


@settings(max_examples=100, deadline=None)
@given(password=PASSWORDS.filter(lambda p: not set(p) & set("'\\")))
def test_settings_in_a_list_hide_their_password(password: str) -> None:
    said = printed("status", "--study", "x", "--storage", f"host=localhost user=me password='{password}' dbname=x")
    assert not pieces(password, said), said


@pytest.mark.parametrize(
    "words",
    [
        ("credential", "new", "--study", "x", "--host", "me:{}@db.example.org"),
        ("credential", "new", "--study", "x", "--host", "postgresql://me:{}@db.example.org"),
        ("launch", "--study", "babylm", "--gpu", "RTX4090", "--dry-run", "--host", "me:{}@db.example.org"),
        ("launch", "--study", "x", "--gpu", "A10", "--dry-run", "--credential-file", "postgresql://me:{}@h/x"),
        ("dashboard", "--host", "me:{}@localhost", "--storage", "postgresql://me@localhost:1/x"),
        ("status", "postgresql://me:{}@localhost/x"),
        ("status", "--study", "postgresql://me:{}@localhost/x", "extra"),
        ("start", "--workers", "postgresql://me:{}@localhost/x"),
    ],
)
@pytest.mark.parametrize("password", ISSUE)
def test_nor_where_an_address_stands_by_mistake(words: tuple[str, ...], password: str, quick: None) -> None:
    said = printed(*(w.format(password) for w in words))
    assert "error: " in said
    assert not pieces(password, said), said


@pytest.mark.parametrize("name", ["LILM_SEARCH_STORAGE", "LILM_SEARCH_STORAGE_FILE"])
def test_nor_what_stands_in_the_environment(name: str, tmp_path: Path) -> None:
    password = ISSUE[0]
    env = {**os.environ, name: f"postgresql://me:{password}@localhost:1/x", "LILM_SEARCH_HOME": str(tmp_path)}
    for line in ("-m search status --study x", "-m search", "-m storage.server.ping"):
        command = [sys.executable, *line.split()]
        with Forked(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, cwd=ROOT) as process:
            said, _ = process.communicate(timeout=CLI_SECONDS)
        assert said
        assert not pieces(password, said), said


def test_a_files_broken_address_is_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "box-1"
    file.write_text(f"# a credential\npostgresql://me:{ISSUE[0]}@localhost/x\n")
    file.chmod(0o600)
    said = printed("status", "--study", "x", "--storage", f"file:{file}")
    assert "%40" in said
    assert not pieces(ISSUE[0], said), said


def test_a_password_in_place_of_its_file_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILM_SEARCH_PASSWORD_FILE", "hunter2-hunter3")
    with pytest.raises(StorageError, match="LILM_SEARCH_PASSWORD_FILE names no file that is there") as caught:
        resolve("postgresql://me@localhost/x")
    assert "hunter" not in str(caught.value)


def test_the_cure_is_told_and_works() -> None:
    """The line that the message gives is run, with the password that it asks for on its standard input."""
    with pytest.raises(StorageError) as caught:
        resolve(f"postgresql://me:{ISSUE[0]}@localhost/x")
    message = str(caught.value)
    assert "@ is %40" in message
    command = shlex.split(message.partition("python3 -c ")[2])
    code = command[0].replace("getpass.getpass()", "input()")
    done = subprocess.run([sys.executable, "-c", code], input=ISSUE[0], capture_output=True, text=True, check=True)
    assert resolve(f"postgresql://me:{done.stdout.strip()}@localhost/x").password == ISSUE[0]


@pytest.mark.parametrize(
    "text",
    [
        "trial@3 is 0.9731 ± 0.0012, 12:30, hf:ORG/NAME@main",
        "mail user@example.org: the study babylm",
        "postgresql://user@host/name, and postgresql://me:***@host/name can't be reached: trial@3",
        "https://example.org:8080/@user and git+https://HOST/lilm-search@COMMIT",
        "image: registry.example.org/lilm-search:latest@sha256:0a1b",
        "postgresql://USER:PASSWORD@HOST:PORT/DATABASE; an @ is %40",
        "the password is wrong; a password: none",
    ],
)
def test_what_is_no_login_stays_readable(text: str) -> None:
    hide_given(text.split())
    assert redact(text) == text


@pytest.mark.parametrize("host", ["::", "::1", "2001:db8::1", "0.0.0.0", "db.example.org:5432", "x:1@2"])
def test_a_host_alone_hides_no_other_words(host: str) -> None:
    assert shown_address(host) == (host if "@" not in host else "x:***@2")
    assert redact("error: 1, 2: db8") == "error: 1, 2: db8"


def test_good_addresses_are_taken_as_ever() -> None:
    for password in ("p:w", "p/w", "p#w?x", "p w", "%40"):
        assert resolve(f"postgresql://me:{password}@localhost/x").password == password.replace("%40", "@")
    assert resolve("postgresql:///x?host=%2Ftmp").host is None
