"""One Optuna study's trials as a queue that unreliable workers share: claim, heartbeat, reap, retry.

All of it is reconciliation: each step may be cut off at any point, and the next reconciliation completes it.
Every change of who works on what happens under one advisory lock of the study, and only the database's clock
counts, so that workers' clocks and time zones are harmless.
"""

import contextlib
import enum
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import optuna
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage import roles
from storage.database import Database, is_passing
from storage.redaction import redact

REQUEUED = ("lost", "interrupted")
"""Causes of failure that are not the configuration's own fault."""

# A sign of life, by the server's clock; the row is Optuna's own, which has no zone and means UTC.
BEAT = sa.text(
    """
    INSERT INTO trial_heartbeats (trial_id, heartbeat)
    SELECT trial_id, now() AT TIME ZONE 'UTC' FROM trials WHERE trial_id = :trial_id AND state = 'RUNNING'
    ON CONFLICT (trial_id) DO UPDATE SET heartbeat = excluded.heartbeat
    """
)

# A worker that died before its first beat would run for ever: its silence counts from when it is first noticed.
BEAT_FOR_THE_SILENT = sa.text(
    """
    INSERT INTO trial_heartbeats (trial_id, heartbeat)
    SELECT trial_id, now() AT TIME ZONE 'UTC' FROM trials WHERE study_id = :study_id AND state = 'RUNNING'
    ON CONFLICT (trial_id) DO NOTHING
    """
)

# Running trials silent for longer than the grace; none while the server itself is younger, since nobody could beat.
STALE = sa.text(
    """
    SELECT t.trial_id FROM trials t JOIN trial_heartbeats h USING (trial_id)
    WHERE t.study_id = :study_id AND t.state = 'RUNNING'
      AND h.heartbeat < now() AT TIME ZONE 'UTC' - make_interval(secs => :grace_seconds)
      AND pg_postmaster_start_time() < now() - make_interval(secs => :grace_seconds)
    ORDER BY t.trial_id
    """
)


@dataclass(frozen=True)
class Claim:
    """A trial that this worker, and no other, now trains."""

    trial_id: int
    number: int
    user_attrs: Mapping[str, Any]


class Outcome(enum.Enum):
    """Why there is no claim."""

    WAIT = "others still run: ask again"
    DONE = "nothing is left"
    REFUSED = "the caller's own condition doesn't allow the next one"


class TrialQueue:
    """The trials of one Optuna study.

    Args:
        database: where the study is.
        study_name: the study, which must exist.
        grace_seconds: silence after which a running trial is taken from its worker.
        inherited: user attributes that say what a trial is, which its retry takes over; no other is.
        max_tries: how often a configuration may be lost before it counts as failed, so that one that kills
            machines can't loop for ever.
        lock: name of the lock, where queues share one because a condition of `claim` looks at all of them.

    """

    def __init__(
        self,
        database: Database,
        study_name: str,
        *,
        grace_seconds: float,
        inherited: Collection[str] = (),
        max_tries: int = 5,
        lock: str = "",
    ) -> None:
        self._database, self._storage = database, database.storage
        self._name, self._grace_seconds = study_name, grace_seconds
        self._inherited, self._max_tries = tuple(inherited), max_tries
        self._lock = f"lilm-search/queue/{lock or study_name}"
        self._study_id = self._storage.get_study_id_from_name(study_name)

    def claim(
        self,
        worker: str,
        limit: int | None,
        prefer: str = "",
        permit: Callable[[Mapping[str, Any]], bool] = lambda user_attrs: True,
    ) -> Claim | Outcome:
        """Take a waiting trial, or a new one while fewer than `limit` slots are taken (None: no new ones).

        A slot is every trial but those that were lost and have a successor: `limit` asked are exactly `limit`
        trained, however many workers race. A waiting trial with the attribute `prefer` goes first. The first
        heartbeat is written before anyone else may look. The caller suggests the parameters, outside the lock.
        `permit` is asked, under the lock, whether a trial with these attributes may be taken (a new one has none).
        """
        with self._locked():
            self._reconcile()
            trials = self._trials()
            queued = [t for t in trials if t.state == TrialState.WAITING]
            if queued:
                waiting = next((t for t in queued if t.user_attrs.get(prefer)), queued[0])
                if not permit(waiting.user_attrs):
                    return Outcome.REFUSED
                self._storage.set_trial_state_values(waiting._trial_id, TrialState.RUNNING)
                trial_id = waiting._trial_id
            elif limit is not None and self._slots(trials) < limit:
                if not permit({}):
                    return Outcome.REFUSED
                trial_id = self._storage.create_new_trial(self._study_id)
            elif any(t.state == TrialState.RUNNING for t in trials):
                return Outcome.WAIT
            else:
                return Outcome.DONE
            self.beat(trial_id)
            self._storage.set_trial_user_attr(trial_id, "worker", worker)
            trial = self._storage.get_trial(trial_id)
        return Claim(trial_id, trial.number, dict(trial.user_attrs))

    def beat(self, trial_id: int) -> bool:
        """Record a sign of life; returns False when the trial isn't running any more: it was taken away."""
        with self._database.engine.begin() as connection:
            return connection.execute(BEAT, {"trial_id": trial_id}).rowcount == 1

    def finish(self, trial_id: int, state: TrialState, value: float | None) -> bool:
        """Record the end of a trial; returns False, and changes nothing, when it had ended otherwise.

        May be called again after a lost acknowledgement: what was recorded the first time is no other end.
        """
        try:
            return self._storage.set_trial_state_values(trial_id, state, None if value is None else [value])
        except UpdateFinishedTrialError:
            trial = self._storage.get_trial(trial_id)
            return trial.state == state and trial.value == value

    def fail(self, trial_id: int, cause: str, detail: str = "") -> bool:
        """Record a failure with its cause; a trial whose fault it isn't is queued again at once."""
        with self._locked():
            failed = self._fail(trial_id, cause, detail)
            self._reconcile()
        return failed

    def enqueue(
        self, params: Mapping[str, Any], user_attrs: Mapping[str, Any], told: Mapping[str, Any] | None = None
    ) -> bool:
        """Queue a trial with these parameters; returns False where one with these attributes exists already.

        `told` are further attributes, which don't tell trials apart.
        """
        with self._locked():
            if any(user_attrs.items() <= t.user_attrs.items() for t in self._trials()):
                return False
            self._add(dict(params), {**user_attrs, **(told or {})})
            return True

    def reconcile(self) -> None:
        """Take trials from silent workers, and queue again what was lost; may be called by anyone at any time."""
        with self._locked():
            self._reconcile()

    def release_worker(self, worker: str) -> int:
        """Take the running trials of a worker that is known to be dead, at once; returns how many."""
        with self._locked():
            running = [t for t in self._trials() if t.state == TrialState.RUNNING]
            mine = [t for t in running if t.user_attrs.get("worker") == worker]
            taken = sum(self._fail(t._trial_id, "lost", f"worker {worker} died") for t in mine)
            self._reconcile()
        return taken

    def slots(self) -> int:
        """Return how many trials count towards the number asked for."""
        return self._slots(self._trials())

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return self._database.lock(self._lock)

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    def _slots(self, trials: list[FrozenTrial]) -> int:
        return sum(not self.requeues(t) for t in trials)

    def requeues(self, trial: FrozenTrial) -> bool:
        """Return whether a trial was lost and its slot passes on to a successor."""
        lost = trial.state == TrialState.FAIL and trial.user_attrs.get("failure") in REQUEUED
        return lost and trial.user_attrs.get("tries", 1) < self._max_tries

    def _fail(self, trial_id: int, cause: str, detail: str) -> bool:
        """Record cause, then failure: cut off between the two, the trial is still running and goes stale."""
        try:
            self._storage.set_trial_user_attr(trial_id, "failure", cause)
            if detail:
                self._storage.set_trial_user_attr(trial_id, "failure_detail", redact(detail)[-2000:])
            return self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def _reconcile(self) -> None:
        with self._database.engine.begin() as connection:
            connection.execute(BEAT_FOR_THE_SILENT, {"study_id": self._study_id})
            grace = {"study_id": self._study_id, "grace_seconds": self._grace_seconds}
            stale = connection.execute(STALE, grace).scalars().all()
            roles.end_expired(connection)
        for trial_id in stale:
            self._fail(trial_id, "lost", f"silent for more than {self._grace_seconds:g} s")
        trials = self._trials()
        succeeded = {t.user_attrs.get("retries") for t in trials}
        for trial in trials:
            if self.requeues(trial) and trial.number not in succeeded:
                kept = {k: v for k, v in trial.user_attrs.items() if k in self._inherited}
                tries = trial.user_attrs.get("tries", 1) + (trial.user_attrs["failure"] == "lost")
                params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # given, and set so far
                self._add(params, kept | {"retries": trial.number, "tries": tries})

    def _add(self, params: dict[str, Any], user_attrs: dict[str, Any]) -> None:
        """Add a waiting trial; `fixed_params` is how Optuna's own queue hands parameters to `suggest`."""
        waiting = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params}, user_attrs=user_attrs)
        self._storage.create_new_trial(self._study_id, template_trial=waiting)


class Heartbeat:
    """Beats for a trial from a thread of its own while the block runs; `lost` says that it was taken away."""

    def __init__(self, queue: TrialQueue, trial_id: int, *, interval_seconds: float) -> None:
        self.lost = False
        self._queue, self._trial_id, self._interval_seconds = queue, trial_id, interval_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat of trial {trial_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(self._interval_seconds):
            try:
                if not self._queue.beat(self._trial_id):
                    self.lost = True
                    return
            except Exception as error:
                if not is_passing(error):  # an outage passes; the next beat may come through
                    optuna.logging.get_logger("lilm_search").warning(f"heartbeat failed: {type(error).__name__}")
