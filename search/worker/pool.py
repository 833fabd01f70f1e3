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
from search.common.exit_codes import AFRESH
from search.common.signals import StopRequest
from search.machine.slots import Slot
from search.strategy.promotion import nothing_left
from search.study.study import LinkedStudy
from storage.outbox.messages import deliver_leftovers

TOKEN = "LILM_SEARCH_WORKER_TOKEN"
"""Environment variable with the end of a worker's name, so that the process that starts it knows the name."""
IDENTITY = "LILM_SEARCH_STUDY_ID"
"""Environment variable with the identity of the study, in case another study takes the name."""


@dataclass
class LocalWorker:
    """A worker process that this process started."""

    slot: Slot
    name: str
    process: "subprocess.Popen[bytes]"
    log: Path
    death_handled: bool = field(default=False)
    """Whether its trial has been handed on after a signal ended it."""

    def tail(self, lines: int = 8) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def spawn(study: str, slot: Slot, index: int, storage_url: str | None, identity: str = "") -> LocalWorker:
    """Start a worker in a session of its own, so that a terminal's Ctrl-C reaches it once, through this process."""
    folder = paths.logs(study)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"worker-{index}.log"
    command = [sys.executable, "-m", "search", "worker", "--study", study, "--device", slot.device]
    command += ["--threads", str(slot.threads)]
    token = _token()
    settings = {"LILM_SEARCH_HOME": str(paths.home()), TOKEN: token, IDENTITY: identity}
    env = {**os.environ, "PYTHONUNBUFFERED": "1", **settings}
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
    """Return the name under which a worker claims: host, process number, and a token, since numbers are reused."""
    return f"{os.uname().nodename}/{pid}-{token or _token()}"


def _token() -> str:
    return secrets.token_hex(3)


POLL_SECONDS = 1.0
"""Seconds between looks at the workers."""
MOST_RESTARTS = 3
"""Workers that are started, in all, in the place of those that a signal ended."""


class Display(Protocol):
    """Shows a running study to a person."""

    def say(self, line: str) -> None:
        """Print one line that stays."""

    def update(self, study: LinkedStudy, workers: Iterable[LocalWorker]) -> None:
        """Show the present state of the study."""


def run_workers(
    study: LinkedStudy, slots: list[Slot], storage_url: str | None, display: Display, stop: StopRequest
) -> None:
    """Start a worker for each slot and watch them until they end or stopping is asked for.

    None is started if nothing is left to do. If a signal ends a worker, its trial is handed on at once and another
    worker takes its place. Raises `SearchError` if every worker failed.
    """
    pool = _Pool(study, display, storage_url)
    pool.deliver_leftovers()
    over = study.database.retrying(lambda: nothing_left(study))
    pool.start([] if over else slots)
    while True:
        if stop():
            pool.stop()
        running = pool.replace_dead()
        study.database.retrying(lambda: display.update(study, pool.workers))
        if not running:
            break
        stop.wait(POLL_SECONDS)
        pool.wait_when_stopping()
    if not stop():
        pool.explain_failures()


class _Pool:
    """The workers of this machine."""

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

    def replace_dead(self) -> bool:
        """Hand on the trials of workers that a signal ended or that ask for it, and start others in their place.

        Returns whether any worker ran when it looked: one that dies later is handed on by the next call.
        """
        codes = [worker.process.poll() for worker in self.workers]
        running = None in codes
        for index, (worker, code) in enumerate(zip(self.workers, codes, strict=True)):
            if worker.death_handled or code is None or not (code < 0 or code == AFRESH):
                continue
            worker.death_handled = True
            self._release(worker)
            if self._stopping:
                continue
            cause = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended, as {worker.log} says"
            self._display.say(f"worker {worker.name} {cause}; its trial goes to another")
            if self._restarts < MOST_RESTARTS:
                self._restarts += 1
                self.workers[index] = self._spawn(worker.slot, index)
                running = True
        return running

    def deliver_leftovers(self) -> None:
        """Deliver what dead workers of this machine left in their outboxes."""
        deliver_leftovers(self._study.database, self._study.queues, paths.outbox(self._study.folder), self._display.say)

    def _release(self, worker: LocalWorker) -> None:
        self.deliver_leftovers()
        self._study.release_worker(worker.name)

    def wait_when_stopping(self) -> None:
        """Wait for a worker to end, once stopping was asked for: nothing else is left to do."""
        for worker in self.alive() if self._stopping else []:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=POLL_SECONDS)
            return

    def explain_failures(self) -> None:
        """Print which workers failed; raise `SearchError` if all did."""
        failed = [w for w in self.workers if w.process.returncode]
        if failed and len(failed) == len(self.workers):
            raise SearchError(f"every worker failed; the end of {failed[0].log}:\n{failed[0].tail()}")
        for worker in failed:
            self._display.say(f"worker {worker.name} failed; see {worker.log}")
