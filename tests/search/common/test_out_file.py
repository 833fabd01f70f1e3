"""Files that a person named: each mistake is one sentence, before any work, and none leaves half a file."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from search.cli.main import app
from search.cloud.credentials import file_for
from search.cloud.install_bundle import build
from search.common import out_file
from search.common.errors import SearchError
from storage.errors import StorageError
from storage.server.address import write_secret


def mistakes(folder: Path) -> list[tuple[str, str]]:
    """Yield a path of each kind that can't be a new file, with the message about it."""
    (folder / "file").write_text("x")
    return [
        (str(folder), f"is {folder}, but that is a folder; name a file in it"),
        (str(folder / "no" / "a.png"), f"but the folder {folder / 'no'} does not exist; create it first"),
        (str(folder / "file" / "a.png"), f"but {folder / 'file'} is no folder; name another place"),
        (str(folder / ("a" * 300 + ".png")), "but it can't be written: File name too long"),
    ]


def test_each_mistake_has_a_message(tmp_path: Path) -> None:
    for given, message in mistakes(tmp_path):
        with pytest.raises(SearchError) as raised:
            out_file.write(Path(given), "text", "--html")
        assert str(raised.value).startswith(f"--html is {given}, ")
        assert message in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_of_others_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(SearchError, match=f"--out is .*a.txt, but you may not write into {tmp_path}; choose another"):
        out_file.check(tmp_path / "a.txt")


COMMANDS: dict[str, list[str]] = {
    "replay": ["replay", "no.csv", "--html"],
    "leaderboard": ["leaderboard", "--format", "csv", "--out"],
    "plot": ["plot", "history", "--study", "s", "--out"],
    "export": ["export", "--study", "s", "--out"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_it_before_it_reads_anything(command: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    for given, message in [*mistakes(tmp_path), (str(tmp_path / "a.png"), "that is a folder")]:
        if command == "plot" and not given.endswith(".png"):
            continue
        done = CliRunner().invoke(app, [*COMMANDS[command], given])
        assert message in str(done.exception), done.output


def test_what_is_there_already_is_kept_where_that_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "a"
    out_file.write(path, "first")
    with pytest.raises(SearchError, match=f"--out is {path}, which exists already; name another file"):
        out_file.write(path, "second", new=" already; name another file")
    assert path.read_text() == "first"
    out_file.write(path, b"\xff")
    assert path.read_bytes() == b"\xff"


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_nothing_is_left_of_a_file_that_was_not_finished(fault: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("before")

    def fail() -> None:
        with out_file.writing(path) as unfinished:
            unfinished.write_text("half")
            raise fault

    with pytest.raises((SearchError, KeyboardInterrupt)) as raised:
        fail()
    assert isinstance(fault, KeyboardInterrupt) or "but it can't be written: No space left" in str(raised.value)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a", "before")]


def test_a_link_stays_a_link_and_a_pipe_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("before")
    (tmp_path / "link").symlink_to("real")
    out_file.write(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "after"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    out_file.write(tmp_path / "pipe", "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe", "real"]


def test_a_credential_that_can_not_be_kept_is_refused_before_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    for given, message in (
        (tmp_path / "there", "exists already; name another file, or remove it"),
        (tmp_path, "a folder"),
    ):
        with pytest.raises(SearchError, match=f"--to is {given}.*{message}"):
            file_for("box", str(given))
    with pytest.raises(SearchError, match=r"--to is .*there is no folder"):
        file_for("box", str(tmp_path / "there" / "box"))
    assert file_for("box", str(tmp_path / "new" / "box")) == tmp_path / "new" / "box"


def test_half_a_secret_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.fdopen

    def full(*arguments: Any, **more: Any) -> Any:
        opened(*arguments, **more).close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(StorageError, match="can't be written: No space left on device"):
        write_secret(tmp_path / "a", "secret")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file", "file/folder"])
def test_files_to_bring_along_need_a_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SearchError, match=r"can't be filled: .*; --to names another folder"):
        build(tmp_path / place, "lilm-search", None)
