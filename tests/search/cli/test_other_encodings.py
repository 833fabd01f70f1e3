"""Terminals and files that are not UTF-8: what can't be shown is spelt out or replaced, and nothing fails for it."""

import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.cli import main as cli
from storage import redaction
from storage.redaction import guard_streams, hide_secret, print_file, to_ascii
from storage.server.database import Database
from tests.conftest import run_cli
from tests.search.show import studied

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do
ENCODINGS = ("ascii", "latin-1", "cp1252")
DESCRIPTION = "naïve ± 3 → 北"
LOOKS = (
    ("status",),
    ("status", "--watch"),
    ("status", "--watch", "--json"),
    ("leaderboard",),
    ("race",),
    ("fleet",),
    ("plot",),
    ("artifacts",),
    ("promote", "--trial", "0", "--seeds", "1"),
)


class Bytes(io.TextIOWrapper):
    """A stream of an encoding, and what was written to it."""

    def __init__(self, encoding: str, *, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def written(self) -> bytes:
        return self.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.fixture
def printed(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a command on a study whose words are beyond all of these encodings; returns the streams' bytes."""
    studied.stored(database, studied.plan(description=DESCRIPTION))
    monkeypatch.setenv("LILM_SEARCH_STORAGE", database_url)
    monkeypatch.setattr("search.common.signals.StopRequest.install", lambda self: None)
    monkeypatch.setattr("search.show.status.watch.Watcher.step", once)

    def run(encoding: str, *words: str, terminal: bool = False) -> tuple[int, bytes, bytes]:
        out, err = Bytes(encoding, terminal=terminal), Bytes(encoding)
        monkeypatch.setattr(sys, "argv", ["lilm-search", *words])
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), out.written(), err.written()

    return run


def once(watcher: Any, *, plain: bool) -> bool:
    """A look at a study that is then taken for finished."""
    watcher.snapshot = watcher.look()
    watcher.pane.show(watcher.snapshot, 1.0)
    if plain:
        watcher._print_state(watcher.pane.overview)
    return True


def test_every_look_at_a_study_can_be_printed(printed: Any) -> None:
    for words in LOOKS:
        for encoding, terminal in ((ENCODINGS[len(words) % 3], False), ("ascii", True)):
            asked = (words[0], "--study", "made", *words[1:])
            code, out, err = printed(encoding, *asked, terminal=terminal)
            assert (code, b"Traceback" in err, b"Error" in err) == (0, False, False), (asked, encoding, err)
            assert b"\xc3" not in out  # UTF-8 by a way around the guard


def test_machines_get_what_they_can_read(printed: Any) -> None:
    """JSON in ASCII; other files in UTF-8, as their formats say, unless a terminal shows them."""
    for encoding in ENCODINGS:
        table = json.loads(printed(encoding, "status", "--study", "made", "--json")[1].decode("ascii"))
        assert table["description"] == DESCRIPTION
        _, best, _ = printed(encoding, "export", "--study", "made")
        assert tomllib.loads(best.decode("utf-8"))["study"] == "made"
        code, best, _ = printed(encoding, "export", "--study", "made", terminal=True)
        assert (code, bool(best.decode(encoding))) == (0, True)
    for form in ("json", "html"):
        assert printed("ascii", "leaderboard", "--study", "made", "--format", form)[1].decode("utf-8")


@pytest.mark.parametrize("encoding", [*ENCODINGS, "utf-8"])
@given(text=st.text(st.characters(codec=None, exclude_characters="\r\n")))
def test_no_text_fails_to_be_printed(encoding: str, text: str) -> None:
    """Lone surrogates included: names of files that are no UTF-8 have them."""
    out = Bytes(encoding)
    redaction._Guarded(out).write(text)
    assert len(out.written().decode(encoding)) >= len(text.encode(encoding, "ignore").decode(encoding))


def test_signs_are_spelt_out() -> None:
    assert to_ascii("0.97 ± 0.01, R² ≥ ½, 41 °C → “naïve” … – 10⁻² ▁█ 北") == (
        '0.97 +- 0.01, R2 >= 1/2, 41 C -> "naive" ... - 10-2 _# ?'
    )
    out = Bytes("latin-1")
    redaction._Guarded(out).write("± 3 → é 北")
    assert out.written().decode("latin-1") == "± 3 -> é ?"


def test_secrets_are_hidden_where_typer_would_write_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a stream that is ASCII it would write UTF-8 around the text stream."""
    import typer

    out = Bytes("ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", Bytes("ascii"))
    guard_streams()
    hide_secret("hunter2-hunter3")
    typer.echo("± hunter2-hunter3")
    assert out.written() == b"+- ***\n"


def test_a_file_that_is_printed_is_utf_8_unless_a_terminal_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for terminal, expected in ((False, "± 北".encode()), (True, b"+- ?")):
        out = Bytes("ascii", terminal=terminal)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", Bytes("ascii"))
        guard_streams()
        print_file("± 北")
        assert out.written() == expected


@pytest.mark.parametrize("words", [("--help",), ("studies",), ("replay", "--help"), ("status", "--study", "北±")])
def test_a_real_terminal_of_the_past(words: tuple[str, ...], tmp_path: Path) -> None:
    past = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LILM_SEARCH_HOME": str(tmp_path)}
    past["LILM_SEARCH_STORAGE"] = "postgresql://me@127.0.0.1:1/x"
    done = run_cli(*words, **past)
    assert done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout + done.stderr).isascii()


def test_a_traceback_can_be_printed() -> None:
    """A fault of ours, which quotes what it can't show."""
    code = (
        "from search.cli import main as cli\n"
        "def fail(**given): raise RuntimeError('± 北 \\udce9 postgresql://me:s3kr1t@h/x')\n"
        "cli.app = fail\n"
        "cli.main()\n"
    )
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=env, check=False)
    assert done.returncode == 70
    message = done.stderr.decode("ascii")
    assert "RuntimeError: +- ? ? postgresql://me:***@h/x" in message
    assert "s3kr1t" not in message.splitlines()[-1]
