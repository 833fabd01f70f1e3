import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import redaction
from storage.queue.trial_queue import Claim, TrialQueue
from storage.redaction import guard_streams, hide_secret, redact
from storage.server.database import Database, connect, parse_url


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets are kept for the whole process: other tests' are set aside."""
    monkeypatch.setattr(redaction, "_known", set())


@given(st.text(alphabet="abcXYZ019 !$%&/=?@:#+*-_.'\\", min_size=12), st.text(alphabet="ab1 \n:"))
def test_a_known_secret_is_hidden_wherever_it_stands(secret: str, around: str) -> None:
    hide_secret(secret)
    for shown in (f"{around}{secret}{around}", f"DSN: user=u password={secret} host=h", f"xx{secret}yy"):
        assert secret not in redact(shown).replace(redaction.HIDDEN, "")


@pytest.mark.parametrize(
    "text",
    [
        "connection to postgresql://u:Pa55-word@h/d failed",
        "invalid dsn: host=h password=Pa55-word dbname=d",
        "invalid dsn: password='Pa55-word' dbname=d",
        "PGPASSWORD=Pa55-word lilm-search worker",
        "https://h/?sslpassword=Pa55-word&x=1",
        "two: postgresql://a:Pa55-word@h/d and postgresql://b:Pa55-word@h/d",
        "CREATE ROLE x PASSWORD 'SCRAM-SHA-256$4096:Pa55+word/w==$Pa55/word=:Pa55word='",
    ],
)
def test_an_unknown_password_is_hidden_by_where_it_stands(text: str) -> None:
    assert "Pa55" not in redact(text)


def test_a_short_password_leaves_other_words_alone() -> None:
    hide_secret("lilm")
    assert redact("lilmsearch says: password lilm") == "lilmsearch says: password ***"


def test_everything_printed_is_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(sys, "stdout", printed)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    guard_streams()
    guard_streams()
    hide_secret("hunter2-hunter2")
    print("logged in with", "hunter2-hunter2")
    sys.stdout.writelines(["and hunter2-hunter2\n"])
    redaction.reveal("asked for: hunter2-hunter2")
    assert printed.getvalue() == "logged in with ***\nand ***\nasked for: hunter2-hunter2\n"


def test_a_failure_is_stored_without_the_password(database_url: str) -> None:
    database = connect(database_url)
    password = str(parse_url(database_url).password)
    database.storage.create_new_study([1], "x")  # type: ignore[list-item]
    queue = TrialQueue(database, "x", grace_seconds=60)
    claim = queue.claim("w", 1)
    assert isinstance(claim, Claim)
    queue.fail(claim.trial_id, "error", f"OperationalError: {database_url} and {password}, which was refused")
    stored = json.dumps(database.storage.get_trial(claim.trial_id).user_attrs)
    assert "which was refused" in stored
    assert password not in stored
    database.close()


def test_a_databases_password_is_known_from_the_start(database: Database, database_url: str) -> None:
    database.close()
    connect(database_url).close()
    assert redact(f"it is {parse_url(database_url).password}") == "it is ***"
