"""SkyPilot, through its command line: it is large, and lives in an environment of its own.

LILM_SEARCH_SKY names its program where it isn't on the PATH. A secret is handed over in its environment, never as
an argument or in a file.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.common.errors import SearchError

PROGRAM = "LILM_SEARCH_SKY"
ASK_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A rented machine as SkyPilot knows it."""

    name: str
    status: str
    where: str


class SkyPilot:
    """SkyPilot's program."""

    def __init__(self, program: str) -> None:
        self._program = program

    def launch(self, task: Path, machine: str, secrets: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
        """Begin to rent a machine and to run a task there; ends, with 0, once the task has begun.

        The secrets, by the names of their variables, are handed over in the environment.
        """
        command = [
            self._program,
            "launch",
            "--cluster",
            machine,
            "--yes",
            "--detach-run",
            *(argument for name in secrets for argument in ("--secret", name)),
            str(task),
        ]
        with log.open("ab") as output:
            return subprocess.Popen(
                command,
                env={**os.environ, **secrets},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C must not leave a machine half rented
            )

    def machines(self) -> list[Machine]:
        """Return every machine that SkyPilot knows of. Raises `SearchError` where it doesn't say."""
        printed = self._run("status", "--output", "json")
        try:
            found = json.loads(printed[printed.index("[") :])
        except (ValueError, RecursionError):
            raise SearchError(f"{self._program} status doesn't say which machines there are: {_end(printed)}") from None
        return [
            Machine(
                name=str(m["name"]),
                status=str(m["status"]),
                where=" ".join(str(m[key]) for key in ("cloud", "region") if m.get(key)),
            )
            for m in found
        ]

    def down(self, names: Sequence[str]) -> None:
        """Give machines back; raises `SearchError` where one may still be rented."""
        if names:
            self._run("down", "--yes", *names, timeout=600)

    def _run(self, *arguments: str, timeout: float = ASK_SECONDS) -> str:
        try:
            done = subprocess.run(
                [self._program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SearchError(f"{self._program} {arguments[0]} didn't answer: {type(error).__name__}") from None
        if done.returncode:
            raise SearchError(f"{self._program} {arguments[0]} failed: {_end(done.stderr or done.stdout)}")
        return done.stdout


def _end(text: str) -> str:
    return " ".join(text.strip().splitlines()[-3:])


def find_sky(environ: Mapping[str, str] = os.environ) -> SkyPilot | None:
    """Return SkyPilot where it is installed. Raises `SearchError` where the environment names what isn't there."""
    if given := environ.get(PROGRAM):
        if not shutil.which(given):
            raise SearchError(f'{PROGRAM} is "{given}", but no such program can be run')
        return SkyPilot(given)
    found = shutil.which("sky", path=environ.get("PATH"))
    return SkyPilot(found) if found else None


def need_sky() -> SkyPilot:
    """Return SkyPilot; raises `SearchError` that says how to get it."""
    if found := find_sky():
        return found
    raise SearchError(
        "SkyPilot is not installed: python3 -m venv sky && "
        "sky/bin/pip install 'skypilot[runpod,vast,lambda]>=0.14,<0.15', "
        f"set {PROGRAM} to sky/bin/sky, and see `sky check`; without it: launch --print bare, kubernetes or slurm"
    )
