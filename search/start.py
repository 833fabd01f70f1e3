"""`start`: prepares the data once, starts this machine's workers, and watches them until the study is done."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from model.errors import SettingsError
from search import paths, studyfile
from search.errors import SearchError, StudyFileError
from search.fleet import LocalWorker, Slot, spawn
from search.plan import Plan
from search.stop import StopRequest
from search.study import LinkedStudy, exists, stored_plan
from storage.database import Database
from storage.letters import deliver_leftovers

POLL_SECONDS = 1.0
MOST_RESTARTS = 3


class Display(Protocol):
    """What shows a running study to a person."""

    def say(self, line: str) -> None:
        """Print one line that stays."""

    def update(self, study: LinkedStudy, workers: Iterable[LocalWorker]) -> None:
        """Show where the study stands now."""


def asked_plan(
    database: Database, study: str, data: str | None, column: str | None, rename: str | None, trials: int | None
) -> Plan:
    """Settle what `start` was asked for: a file, a shipped study, or one that only the database knows."""
    name = studyfile.study_name(study)
    known = studyfile.is_path(study) or name in studyfile.shipped() or not exists(database, name)
    plan = studyfile.read(study) if known else stored_plan(database, name)
    if data:
        plan = studyfile.with_data(plan, data, column)
    elif column:
        plan = replace(plan, data=replace(plan.data, column=column))
    if trials is not None and plan.is_grid:
        raise StudyFileError(f"--trials is {trials}, but {plan.name} is a grid of {plan.proxy.trials} runs")
    try:
        plan = replace(plan, proxy=replace(plan.proxy, trials=trials)) if trials is not None else plan
    except SettingsError as error:
        raise StudyFileError(f"--trials: {error}") from None
    return replace(plan, name=studyfile.study_name(rename)) if rename else plan


def with_cap(
    database: Database,
    plan: Plan,
    max_usd: float | None,
    price: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Return the plan with this cost cap; with the stored one where neither this nor the file says anything.

    `price` of a GPU-hour is taken where the plan has none, else the stored one. `say` is told of a cap that the file
    changes, since a launch may have set it.
    """
    if exists(database, plan.name):
        cost = stored_plan(database, plan.name).cost
        price = price or cost.usd_per_gpu_hour
        if max_usd is None and not plan.cost.max_usd:
            max_usd = cost.max_usd
        elif max_usd is None and cost.max_usd not in (0, plan.cost.max_usd):
            say(
                f"note: the cap was ${cost.max_usd:.2f} and is ${plan.cost.max_usd:.2f} now, the study file's; "
                f"--max-usd {cost.max_usd:g} keeps it"
            )
    return capped(plan, max_usd, price)


def capped(plan: Plan, max_usd: float | None, price: float | None = None) -> Plan:
    """Return the plan with this cost cap where one is given; raises `StudyFileError` where it can't have it."""
    cap = plan.cost.max_usd if max_usd is None else max_usd
    cost = replace(plan.cost, max_usd=cap, usd_per_gpu_hour=plan.cost.usd_per_gpu_hour or price or 0.0)
    try:
        return replace(plan, cost=cost)
    except SettingsError as error:
        raise StudyFileError(f"--max-usd: {error}") from None


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
