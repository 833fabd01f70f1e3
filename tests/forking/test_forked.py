"""A forked command is a process like one that is started, which other tests of processes rely on."""

import json
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.conftest import CLI_SECONDS
from tests.forking.client import OURS, Forked, fork, server


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
        assert process.wait(timeout=CLI_SECONDS) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_the_server_outlives_clients_that_are_killed(fresh_home: Path) -> None:
    """One that has not read how its process ended, and one that waits for the process's number."""
    what: dict[str, object] = {"arguments": ["--help"], "network": None, "folder": "/", "environment": dict(os.environ)}
    what |= {"processors": list(os.sched_getaffinity(0)), "session": False}
    with Path(os.devnull).open("r+b") as nowhere:
        descriptors = [nowhere.fileno()] * 3
        connection, _ = fork(what, descriptors)
        select.select([connection], [], [], CLI_SECONDS)
        connection.close()
        hurried = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hurried.connect(str(server()))
        socket.send_fds(hurried, [json.dumps(what).encode()], descriptors)
        hurried.close()
    with Forked([*OURS, "--help"], stdout=subprocess.DEVNULL) as process:
        assert process.wait(timeout=CLI_SECONDS) == 0
