"""`start`: prepares the data once, starts this machine's workers, and watches them until the study is done."""

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from model.corpus import prepare
from model.errors import SettingsError
from search import paths, studyfile
from search.errors import SearchError, StudyFileError
from search.fleet import LocalWorker, Slot, spawn
from search.plan import Plan
from search.stop import StopRequest
from search.study import LinkedStudy, exists, stored_plan
from storage.database import Database

POLL_SECONDS = 1.0
MOST_RESTARTS = 3

Progress = Callable[[str, int, int | None], None]


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
    try:
        plan = replace(plan, proxy=replace(plan.proxy, trials=trials)) if trials is not None else plan
    except SettingsError as error:
        raise StudyFileError(f"--trials: {error}") from None
    return replace(plan, name=studyfile.study_name(rename)) if rename else plan


def vocabularies(plan: Plan) -> list[int]:
    """Return the vocabularies that a study may need, the baselines' first."""
    parameter = plan.space.parameters.get("vocab_size")
    if parameter is None:
        return [plan.tokenizer.vocab_size]
    wanted = [params["vocab_size"] for params in plan.baselines.values() if "vocab_size" in params]
    wanted += [int(v) for v in parameter.values(most=16) or ()]
    return list(dict.fromkeys(wanted))


def prepare_all(plan: Plan, progress: Progress, stop: StopRequest) -> None:
    """Prepare text, tokenizers and tokens once, before the workers that share them start."""
    for vocab_size in vocabularies(plan):
        if stop():
            return
        prepare(plan.data, plan.configuration({"vocab_size": vocab_size}).tokenizer, paths.cache(), progress)


def run_workers(
    study: LinkedStudy, slots: list[Slot], storage_url: str | None, display: Display, stop: StopRequest
) -> None:
    """Start a worker for each slot and watch them until they end or stopping is asked for.

    A worker that dies is known to be dead: its trial is handed on at once and another worker takes its place.
    Raises `SearchError` when workers keep failing.
    """
    workers = [spawn(study.plan.name, slot, i, storage_url) for i, slot in enumerate(slots)]
    restarts = 0
    told = False
    while any(w.process.poll() is None for w in workers):
        if stop() and not told:
            told = True
            display.say("stopping: running trials are handed back; `start` again goes on from here")
            for worker in workers:
                _signal(worker)
        for index, worker in enumerate(workers):
            if not _died(worker):
                continue
            _release(study, worker)
            display.say(f"worker {worker.name} died (exit {worker.process.returncode}); its trial goes to another")
            if not stop() and restarts < MOST_RESTARTS:
                restarts += 1
                workers[index] = spawn(study.plan.name, worker.slot, index, storage_url)
        study.database.retrying(lambda: display.update(study, workers))
        stop.wait(POLL_SECONDS) if not told else _wait_any(workers)
    failed = [w for w in workers if w.process.returncode not in (0, None)]
    for worker in failed:
        _release(study, worker)
    display.update(study, workers)
    if failed and not stop():
        raise SearchError(
            f"{len(failed)} of {len(workers)} workers failed; the end of {failed[0].log}:\n{failed[0].tail()}"
        )


def _died(worker: LocalWorker) -> bool:
    """Return whether a worker was ended by a signal, once; an error of its own it has told in its log."""
    code = worker.process.poll()
    if worker.seen_dead or code is None or code >= 0:
        return False
    worker.seen_dead = True
    return True


def _release(study: LinkedStudy, worker: LocalWorker) -> None:
    for queue in (study.proxy_queue, study.confirm_queue):
        queue.release_worker(worker.name)


def _signal(worker: LocalWorker) -> None:
    if worker.process.poll() is None:
        worker.process.send_signal(signal.SIGTERM)


def _wait_any(workers: list[LocalWorker]) -> None:
    for worker in workers:
        if worker.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(timeout=POLL_SECONDS)
            return
