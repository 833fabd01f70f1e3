"""Saved training states, from which a confirmation run goes on after its worker was lost, also on another machine.

The machine that trains keeps the newest state on its disk: one file for each run, which all tries of it share. A
worker that is asked to stop also puts it into the study's store, if there is one.
"""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from optuna.artifacts import download_artifact
from optuna.artifacts._protocol import ArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial

from model.errors import CheckpointError
from model.training.result import Report
from model.training.resume_state import seconds_in
from search.common import paths
from search.study.study import LinkedStudy
from search.study.trials import RAN_BEFORE, RESUMED_AT, attributes_of
from storage.errors import first_line
from storage.queue.trial_queue import TrialQueue

MOST_SHARE = 0.02
"""Largest share of a run's time for writing states: a large network's are written less often than it reports."""
UPLOAD_SECONDS = 20.0
"""Seconds that a worker which is asked to stop waits for the upload of its state, which may take longer."""
FETCH_SECONDS = 60.0
"""Seconds that a new try waits for a database that is away to fetch a state from it."""


class SavedStates:
    """Saves the states of one confirmation run, and finds those of its earlier tries.

    Args:
        study: study of the run.
        number: number of the claimed trial.
        store: store of files that machines share; None if they share none.
        stopping: returns whether this worker is asked to stop.
        go_on: called with the reports of an earlier try and with attributes to store, once the run goes on from it.
        say: prints a line for people.
        clock: returns seconds; measures the time that writing takes.
        sleep: called with the seconds to wait for a state that is being uploaded.

    """

    def __init__(
        self,
        study: LinkedStudy,
        number: int,
        store: ArtifactStore | None,
        *,
        stopping: Callable[[], bool],
        go_on: Callable[[Sequence[Report], dict[str, Any]], None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._study, self._store, self._clock, self._sleep = study, store, clock, sleep
        self._stopping, self._go_on, self._say = stopping, go_on, say
        trials = study.confirm_trials()
        folder = paths.resume(study.runs_folder)
        clear_ended(folder, trials, study.confirm_queue)
        self._tries = tries(trials, number)
        self._path = folder / f"confirm-{self._tries[0].number}.state"
        if len(self._tries) == 1:
            self._path.unlink(missing_ok=True)  # of an earlier study of this name
        self._write_seconds, self._written_at, self._file_is_ours = 0.0, clock(), False

    def newest(self) -> Path | None:
        """Return the furthest state of the earlier tries, from this disk or the study's store; None in a first try.

        The file need not exist.
        """
        if len(self._tries) == 1:
            return None
        if self._store is not None:
            try:
                self._fetch(self._store)
            except Exception as error:  # whatever a store raises: at worst the run starts anew
                self._say(f"no state could be fetched: {first_line(error)}")
        return self._path

    def _fetch(self, store: ArtifactStore) -> None:
        """Fetch the newest state in the store, unless the one on this disk is further."""
        last, until = self._tries[-2], self._clock() + UPLOAD_SECONDS
        # A worker that has just been interrupted may still be uploading.
        uploading = attributes_of(last).failure == "interrupted" and last.intermediate_values
        wait = bool(uploading) and not self._path.exists()
        fetched = self._path.with_name(f"{self._path.name}.fetched")
        while not self._download(store, fetched):
            if not wait or self._stopping() or self._clock() >= until:
                return
            self._sleep(1.0)
        if seconds_in(fetched) > seconds_in(self._path):
            fetched.replace(self._path)
        fetched.unlink(missing_ok=True)

    def _download(self, store: ArtifactStore, to: Path) -> bool:
        to.parent.mkdir(parents=True, exist_ok=True)
        for trial in reversed(self._tries[:-1]):
            to.unlink(missing_ok=True)
            name = self._id(trial)
            try:
                fetch = partial(download_artifact, artifact_store=store, file_path=str(to), artifact_id=name)
                self._study.database.retrying(fetch, give_up_seconds=FETCH_SECONDS)
            except ArtifactNotFound:
                continue
            return True
        return False

    def resumed(self, reports: Sequence[Report], progress: float) -> None:
        """Record and print at what progress the run goes on, and which workers had it before."""
        percent = round(100 * progress, 2)
        before = [attributes_of(t).worker or "unknown" for t in self._tries[:-1]]
        self._go_on(reports, {RESUMED_AT: percent, RAN_BEFORE: before})
        self._file_is_ours = True
        self._say(f"goes on at {percent:.0f}%; before: {', '.join(before)}")

    def keep(self, seconds: float, write: Callable[[Path], None]) -> None:
        """Write the state, unless that takes too long or another worker is further; share it if asked to stop.

        Args:
            seconds: training seconds of the state.
            write: writes it to a path.

        """
        started, stopping = self._clock(), self._stopping()
        if not stopping and started - self._written_at < self._write_seconds / MOST_SHARE:
            return
        if self._file_is_ours and seconds_in(self._path) > seconds:  # the run was taken over; its new worker is ahead
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write(self._path)
        except (CheckpointError, OSError) as error:
            self._say(f"its state is not kept: {first_line(error)}")
            return
        self._written_at, self._file_is_ours = self._clock(), True
        self._write_seconds = self._written_at - started
        if stopping and self._store is not None:
            self._share(self._store)

    def _share(self, store: ArtifactStore) -> None:
        most, size = self._study.plan.workers.resume_mb, self._path.stat().st_size / 1e6
        if size > most:
            return self._say(f"its state stays on this machine: {size:.0f} MB, and [workers] resume_mb is {most:g}")
        # A thread of its own keeps the process alive, even if a second stop request interrupts the main thread.
        upload = threading.Thread(target=self._upload, args=(store, self._id(self._tries[-1])), name="upload")
        upload.start()
        return upload.join(UPLOAD_SECONDS)

    def _upload(self, store: ArtifactStore, name: str) -> None:
        try:
            with self._path.open("rb") as body:
                store.write(name, body)
        except Exception as error:  # whatever a store raises: without it the run starts anew elsewhere
            self._say(f"its state stays on this machine: {first_line(error)}")

    def _id(self, trial: FrozenTrial) -> str:
        """Return the name of a try's state in the store.

        The next try can work it out; it can't be an attribute, since an ended trial takes none. It has the trial's
        number in the database, since a bucket may hold states of another study of the same name.
        """
        return f"{self._study.folder}-confirm-state-{trial._trial_id}"

    def done(self) -> None:
        """Remove the states of a run that has ended."""
        self._path.unlink(missing_ok=True)
        for trial in self._tries[:-1]:
            # It may not exist, or a rented machine's role may not remove it; then it is removed with its study.
            with contextlib.suppress(Exception):
                if self._store is not None:
                    self._store.remove(self._id(trial))


def tries(trials: Sequence[FrozenTrial], number: int) -> list[FrozenTrial]:
    """Return all tries of a run up to this trial, the first one first."""
    chain = [trials[number]]
    while (earlier := attributes_of(chain[0]).retries) is not None:
        chain.insert(0, trials[earlier])
    return chain


def clear_ended(folder: Path, trials: Sequence[FrozenTrial], queue: TrialQueue) -> None:
    """Remove from this disk the states of runs that have ended, here or elsewhere."""
    retried_by = {attributes_of(t).retries: t for t in trials}
    for path in folder.glob("confirm-*.state*"):
        number = int(re.findall(r"confirm-(\d+)\.state", path.name)[0])
        last = trials[number] if number < len(trials) else None
        while last is not None and last.number in retried_by:
            last = retried_by[last.number]
        if last is None or (last.state.is_finished() and not queue.requeues(last)):
            path.unlink(missing_ok=True)
