"""The key with which workers sign compiled graphs: where it comes from, what is refused, and that it isn't shown."""

import os
from pathlib import Path

import pytest

from search.common.compiled_key import COMPILED_KEY, COMPILED_KEY_FILE, compiled_key, hand_on
from search.common.errors import SearchError
from storage.errors import StorageError
from storage.redaction import redact
from tests.search.conftest import Typed

KEY = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (COMPILED_KEY, COMPILED_KEY_FILE):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_key_is_optional() -> None:
    assert compiled_key() is None


def test_a_key_comes_from_the_file_named_first_and_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPILED_KEY, f" {KEY}\n")
    assert compiled_key() == KEY
    assert KEY not in redact(f"the key is {KEY}")
    monkeypatch.setenv(COMPILED_KEY_FILE, str(private(tmp_path / "one", f"# of all workers\n{KEY}1\n")))
    assert compiled_key() == f"{KEY}1"
    assert compiled_key(private(tmp_path / "two", f"{KEY}2")) == f"{KEY}2"


def test_a_key_is_handed_on_by_its_files_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private(tmp_path / "key", KEY)
    monkeypatch.chdir(tmp_path)
    hand_on(Path("key"))
    assert os.environ[COMPILED_KEY_FILE] == str(tmp_path / "key")
    monkeypatch.chdir("/")
    assert compiled_key() == KEY


@pytest.mark.parametrize("key", ["a-short-key-of-thirty-one-signs", KEY + " two words", KEY + "ä"])
def test_a_poor_key_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COMPILED_KEY, key)
    with pytest.raises(SearchError, match=rf"has {len(key)} signs, but must be at least 32 .*openssl rand") as refused:
        compiled_key()
    assert key not in str(refused.value)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = private(tmp_path / "key", KEY)
    file.chmod(0o640)
    with pytest.raises(StorageError, match=r"the key of compiled graphs: .*chmod 600"):
        compiled_key(file)


@pytest.mark.parametrize("command", [("start",), ("worker",), ("launch", "--gpu", "cpu", "--print", "bare")])
def test_commands_refuse_a_poor_key_before_all_else(
    command: tuple[str, ...], typed: Typed, tmp_path: Path, fresh_home: Path
) -> None:
    file = private(tmp_path / "key", "far-too-short")
    code, out, err = typed(*command, "--study", "quickstart", "--compiled-key-file", str(file))
    assert (code, out) == (1, "")
    assert "has 13 signs, but must be at least 32" in err
    assert "far-too-short" not in err
    assert not list(fresh_home.iterdir())
