"""What tests of the search share."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from search.cli import main as cli
from search.common.signals import STOP_SIGNALS
from storage.server.database import Database
from tests.search.tiny import PLAN


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(PLAN, encoding="utf-8")
    return path


@pytest.fixture
def stored(home: Path, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The database that commands use unless they are told another, in a home of their own."""
    monkeypatch.setenv("LILM_SEARCH_STORAGE", database_url)
    return database


@contextmanager
def _own_signals() -> Iterator[None]:
    """Handle signals afterwards as before, whatever a command has installed."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in handlers.items():
            signal.signal(number, handler)


Typed = Callable[..., tuple[int, str, str]]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """The command line in this process: its exit code, what it prints and what it complains of."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lilm-search", *arguments])
        with pytest.raises(SystemExit) as ended, _own_signals():
            cli.main()
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, told.out, told.err

    return run
