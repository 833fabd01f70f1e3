"""A forked command is a process like one that is started, which other tests of processes rely on."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.forking.client import OURS, Forked


@pytest.mark.parametrize("arguments", [["studies"], ["nonsense"], ["studies", "show", "mine.toml"]])
def test_a_forked_command_does_what_a_started_one_does(arguments: list[str], fresh_home: Path, tmp_path: Path) -> None:
    """Its exit code, output and errors, in a folder and with an environment of its own."""
    (tmp_path / "mine.toml").write_text("[data]\nsource = 'builtin'\ntrails = 1\n", encoding="utf-8")
    ends = []
    for popen in (subprocess.Popen, Forked):
        with popen(
            [*OURS, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "60"},
        ) as process:
            ends.append((*process.communicate(timeout=120), process.returncode))
    assert ends[0] == ends[1]
    assert ends[0][:2] != ("", "")


def test_a_forked_command_is_killed_like_any_other(fresh_home: Path) -> None:
    """It reads a checkpoint from a pipe that nobody writes to, until then."""
    os.mkfifo(fresh_home / "none.pt")
    command = [*OURS, "sample", "--checkpoint", str(fresh_home / "none.pt")]
    with Forked(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.01)
        process.kill()
        assert process.wait(timeout=60) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
