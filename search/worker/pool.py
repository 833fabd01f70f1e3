"""The workers of this machine: one process per slot, started and watched by `start`."""

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from search.common import paths
from search.common.errors import SearchError
from search.common.signals import StopRequest
from search.machine.slots import Slot
from search.study.study import LinkedStudy
from storage.outbox.messages import deliver_leftovers

TOKEN = "LILM_SEARCH_WORKER_TOKEN"
"""Tells a worker what its name ends with, so that who started it knows the name too."""
IDENTITY = "LILM_SEARCH_STUDY_ID"
"""Tells a worker which study it is started for, should another have taken the name."""


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


POLL_SECONDS = 1.0
MOST_RESTARTS = 3


class Display(Protocol):
    """What shows a running study to a person."""

    def say(self, line: str) -> None:
        """Print one line that stays."""

    def update(self, study: LinkedStudy, workers: Iterable[LocalWorker]) -> None:
        """Show where the study stands now."""


def run_workers(
    study: LinkedStudy, slots: list[Slot], storage_url: str | None, display: Display, stop: StopRequest
) -> None:
    """Start a worker for each slot and watch them until they end or stopping is asked for.

    A worker that dies is known to be dead: its trial is handed on at once and another worker takes its place.
    Raises `SearchError` when every worker failed.
    """
    crew = _Crew(study, display, storage_url)
    crew.deliver_leftovers()
    crew.start(slots)
    while True:
        if stop():
            crew.stop()
        crew.replace_dead()
        study.database.retrying(lambda: display.update(study, crew.workers))
        if not crew.alive():
            break
        stop.wait(POLL_SECONDS)
        crew.wait_when_stopping()
    if not stop():
        crew.explain_failures()


class _Crew:
    """The workers of this machine and who replaces whom."""

    def __init__(self, study: LinkedStudy, display: Display, storage_url: str | None) -> None:
        self.workers: list[LocalWorker] = []
        self._study, self._display, self._storage_url = study, display, storage_url
        self._restarts = 0
        self._stopping = False

    def start(self, slots: list[Slot]) -> None:
        self.workers = [self._spawn(slot, i) for i, slot in enumerate(slots)]

    def _spawn(self, slot: Slot, index: int) -> LocalWorker:
        return spawn(self._study.plan.name, slot, index, self._storage_url, self._study.proxy_queue.identity)

    def alive(self) -> list[LocalWorker]:
        return [w for w in self.workers if w.process.poll() is None]

    def stop(self) -> None:
        """Ask every worker, once, to hand its trial back."""
        if self._stopping:
            return
        self._stopping = True
        self._display.say("stopping: running trials are handed back; `start` again goes on from here")
        for worker in self.alive():
            worker.process.send_signal(signal.SIGTERM)

    def replace_dead(self) -> None:
        """Hand on the trials of workers that a signal ended, and put others in their place."""
        for index, worker in enumerate(self.workers):
            if worker.seen_dead or (worker.process.poll() or 0) >= 0:
                continue
            worker.seen_dead = True
            self._release(worker)
            if self._stopping:
                continue
            signal_name = signal.Signals(-worker.process.returncode).name
            self._display.say(f"worker {worker.name} was ended by {signal_name}; its trial goes to another")
            if self._restarts < MOST_RESTARTS:
                self._restarts += 1
                self.workers[index] = self._spawn(worker.slot, index)

    def deliver_leftovers(self) -> None:
        """Deliver what dead workers of this machine had written and no server has taken."""
        deliver_leftovers(self._study.database, self._study.queues, paths.outbox(self._study.folder), self._display.say)

    def _release(self, worker: LocalWorker) -> None:
        self.deliver_leftovers()
        self._study.release_worker(worker.name)

    def wait_when_stopping(self) -> None:
        """Once stopping was asked for, sleep until a worker ends: there is nothing else to wake up for."""
        for worker in self.alive() if self._stopping else []:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=POLL_SECONDS)
            return

    def explain_failures(self) -> None:
        """Say which workers failed; raise where none was left to finish the study."""
        failed = [w for w in self.workers if w.process.returncode]
        if failed and len(failed) == len(self.workers):
            raise SearchError(f"every worker failed; the end of {failed[0].log}:\n{failed[0].tail()}")
        for worker in failed:
            self._display.say(f"worker {worker.name} failed; see {worker.log}")
