"""The workers of this machine: how many, on which devices, started and watched by `start`."""

import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import torch

from model.tokenizer import cpu_count
from search import paths

MOST_CPU_WORKERS = 4  # a worker holds about half a gigabyte before it trains anything

TOKEN = "LILM_SEARCH_WORKER_TOKEN"
"""Tells a worker what its name ends with, so that who started it knows the name too."""
IDENTITY = "LILM_SEARCH_STUDY_ID"
"""Tells a worker which study it is started for, should another have taken the name."""


@dataclass(frozen=True)
class Slot:
    """Where one worker runs: a device, and the threads it may use there."""

    device: str
    threads: int


def slots(workers: int | None = None) -> list[Slot]:
    """Return one slot for each GPU; on CPU one for each core, at most four, the cores divided among them."""
    cores = cpu_count()
    if torch.cuda.is_available():
        gpus = torch.cuda.device_count()
        count = workers or gpus
        return [Slot(f"cuda:{i % gpus}", max(1, cores // count)) for i in range(count)]
    count = workers or min(cores, MOST_CPU_WORKERS)
    return [Slot("cpu", max(1, cores // count)) for _ in range(count)]


@dataclass
class LocalWorker:
    """A worker process that this process started."""

    slot: Slot
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    seen_dead: bool = field(default=False)

    def tail(self, lines: int = 8) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def spawn(study: str, slot: Slot, index: int, storage_url: str | None, identity: str = "") -> LocalWorker:
    """Start a worker in a process group of its own, so that a terminal's Ctrl-C reaches it once, through us."""
    folder = paths.logs(study)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"worker-{index}.log"
    command = [sys.executable, "-m", "search", "worker", "--study", study, "--device", slot.device]
    command += ["--threads", str(slot.threads)]
    token = _token()
    mine = {"LILM_SEARCH_HOME": str(paths.home()), TOKEN: token, IDENTITY: identity}
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **mine}
    if storage_url:
        env["LILM_SEARCH_STORAGE"] = storage_url  # not an argument: every user of the machine sees those
    with log.open("ab") as output:
        process = _popen(command, env, output)
    return LocalWorker(slot, worker_name(process.pid, token), process, log)


def _popen(command: list[str], env: dict[str, str], output: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def worker_name(pid: int, token: str | None = None) -> str:
    """Return the name by which a worker claims: host, process, and a token, since process numbers come again."""
    return f"{os.uname().nodename}/{pid}-{token or _token()}"


def _token() -> str:
    return secrets.token_hex(3)
