"""One Optuna study's trials as a queue that unreliable workers share: claim, heartbeat, reap, retry.

Every change of the workers' trials is one transaction under one advisory lock of the study: it happens whole or not at
all, wherever a worker or its network fails. Only the database's clock counts, so that workers' clocks and time zones
don't matter.
"""

import enum
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage.access import roles
from storage.queue.liveness_sql import BEAT, NOTICE, STALE
from storage.queue.trial_view import TrialView
from storage.redaction import redact
from storage.server.database import Database

REQUEUED = ("lost", "interrupted")
"""Causes of failure that aren't the configuration's fault: such a trial is queued again."""


@dataclass(frozen=True)
class Claim:
    """A trial that this worker, and no other, is to train."""

    trial_id: int
    number: int
    user_attrs: Mapping[str, Any]


class NoClaim(enum.Enum):
    """Why a worker got no trial."""

    WAIT = "others still run: ask again"
    DONE = "nothing is left"
    REFUSED = "the caller's own condition doesn't allow the next one"


class TrialQueue:
    """The trials of one Optuna study.

    Args:
        database: database of the study.
        study_name: name of the Optuna study, which must exist.
        study_id: its id, if another study may have taken the name; None: found by the name.
        identity: identity of the study; messages written for another study are not delivered to this queue.
        grace_seconds: seconds of silence after which a running trial is taken from its worker.
        inherited: keys of the user attributes that a retry takes over: those that identify a trial.
        max_tries: tries of a configuration before it counts as failed, so that one that kills machines can't loop
            for ever.
        lock: name of the lock, if queues share one because a condition of `claim` looks at all of them.

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
        study_id: int | None = None,
        identity: str = "",
    ) -> None:
        self._database, self._storage = database, database.storage
        self._name, self._grace_seconds = study_name, grace_seconds
        self._inherited, self._max_tries = tuple(inherited), max_tries
        self._lock = f"lilm-search/queue/{lock or study_name}"
        self.study_id = self._storage.get_study_id_from_name(study_name) if study_id is None else study_id
        self.identity = identity
        self.trial_view = TrialView(database, self.study_id)
        """View of the trials for a pruner, which asks from a thread of its own."""
        self._claim_view = TrialView(database, self.study_id)

    @property
    def name(self) -> str:
        """The study's name."""
        return self._name

    def claim(
        self,
        worker: str,
        limit: int | None,
        prefer: str = "",
        permit: Callable[[Mapping[str, Any]], bool] = lambda user_attrs: True,
        room: Callable[[Sequence[FrozenTrial]], bool] = lambda trials: True,
    ) -> Claim | NoClaim:
        """Take a waiting trial, or a new one while fewer than `limit` trials count (None: no new ones).

        All trials count but those that were lost and have a successor, so that exactly `limit` are trained, however
        many workers race. The first heartbeat is written under the lock. The caller suggests the parameters, outside
        the lock. If the answer is lost, the trial may have been taken: it gets no heartbeat, and goes stale.

        Args:
            worker: name of the worker.
            limit: number of trials that the study asks for.
            prefer: user attribute; a waiting trial for which it is true goes first.
            permit: called under the lock with a trial's user attributes, none for a new trial; returns whether it
                may be taken.
            room: called under the lock with all trials; returns whether there is room for a new one. Without room the
                answer is as if `limit` were reached: the caller waits while others run.

        """
        claim: Claim | NoClaim | None = None
        while claim is None:
            self.reap()
            with self._atomic() as connection:
                claim = self._claim(connection, worker, limit, prefer, permit, room)
        if isinstance(claim, Claim):
            self._add_to_cache(claim.trial_id)
        return claim

    def beat(self, trial_id: int) -> bool:
        """Record a heartbeat; return False if the trial isn't running any more, because it was taken away."""
        with self._database.autocommit() as connection:
            return connection.execute(BEAT, {"trial_id": trial_id}).rowcount == 1

    def finish(self, trial_id: int, state: TrialState, value: float | None) -> bool:
        """Record the end of a trial; return False, and change nothing, if it has another end already.

        May be called again after a lost acknowledgement.
        """
        try:
            return self._storage.set_trial_state_values(trial_id, state, None if value is None else [value])
        except UpdateFinishedTrialError:
            trial = self._storage.get_trial(trial_id)
            return trial.state == state and trial.value == value

    def fail(self, trial_id: int, cause: str, detail: str = "") -> bool:
        """Record a failure with its cause; queue the trial again at once if the cause is in `REQUEUED`.

        Returns False, and changes nothing, if it had ended already.
        """
        with self._atomic():
            trials = self._trials()
            return self._fail([t for t in trials if t._trial_id == trial_id], trials, cause, detail) == 1

    def enqueue(
        self, params: Mapping[str, Any], user_attrs: Mapping[str, Any], details: Mapping[str, Any] | None = None
    ) -> bool:
        """Queue a trial with these parameters; return False if one with these attributes exists already.

        `details` are further attributes, by which trials aren't told apart.
        """
        with self._atomic():
            if any(user_attrs.items() <= t.user_attrs.items() for t in self._trials()):
                return False
            self._add(dict(params), {**user_attrs, **(details or {})})
            return True

    def reconcile(self) -> None:
        """Take trials from silent workers, and queue lost ones again; any process may call it at any time."""
        self._find_stale()
        with self._atomic() as connection:
            stale = set(connection.execute(STALE, self._grace).scalars())
            trials = self._trials()
            silent = [t for t in trials if t._trial_id in stale]
            self._fail(silent, trials, "lost", f"silent for more than {self._grace_seconds:g} s")
            self._add_missing_successors(trials)

    def reap(self) -> bool:
        """Reconcile if a worker has fallen silent, which is cheap to check; return whether one had."""
        stale = self._find_stale()
        if stale:
            self.reconcile()
        return stale

    def release_worker(self, worker: str) -> int:
        """Take the running trials of a worker that is known to be dead, at once; return how many."""
        with self._atomic():
            trials = self._trials()
            running = [t for t in trials if t.state == TrialState.RUNNING and t.user_attrs.get("worker") == worker]
            return self._fail(running, trials, "lost", f"worker {worker} died")

    def counted(self, trials: Iterable[FrozenTrial] | None = None) -> int:
        """Return how many of these trials count towards the number asked for; None: of all, read now."""
        return sum(not self.requeues(t) for t in (self._trials() if trials is None else trials))

    def requeues(self, trial: FrozenTrial) -> bool:
        """Return whether a trial was lost and a successor takes its place."""
        return trial.state == TrialState.FAIL and self._has_successor(trial, trial.user_attrs.get("failure"))

    def _has_successor(self, trial: FrozenTrial, cause: str | None) -> bool:
        return cause in REQUEUED and _tries(trial) < self._max_tries

    def _atomic(self) -> AbstractContextManager[sa.Connection]:
        return self._database.atomic(self._lock)

    @property
    def _grace(self) -> dict[str, Any]:
        return {"study_id": self.study_id, "grace_seconds": self._grace_seconds}

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self.study_id, deepcopy=False)

    def with_attributes(self) -> list[FrozenTrial]:
        """Return every trial; those that wait or run have only user attributes and given parameters.

        Call it under a lock of the database, which only one thread of this process can hold.
        """
        return self._claim_view.with_attributes()

    def _add_to_cache(self, trial_id: int) -> None:
        """Add a trial to the cache of Optuna's storage, which sets parameters only of cached trials."""
        storage: Any = self._storage
        trial = self._database.uncached.get_trial(trial_id)
        with storage._lock:
            storage._add_trials_to_cache(self.study_id, [trial])

    def _find_stale(self) -> bool:
        """Mark trials whose workers have fallen silent; return whether one has been silent for the grace time."""
        with self._database.autocommit() as connection:
            connection.execute(NOTICE, self._grace)
            roles.end_expired(connection)
            return connection.execute(STALE, self._grace).first() is not None

    def _claim(
        self,
        connection: sa.Connection,
        worker: str,
        limit: int | None,
        prefer: str,
        permit: Callable[[Mapping[str, Any]], bool],
        room: Callable[[Sequence[FrozenTrial]], bool],
    ) -> Claim | NoClaim | None:
        """Claim under the lock; return None if the caller must try again, because the trials have changed."""
        trials = self._claim_view.with_attributes(connection)
        if self._add_missing_successors(trials):
            return None
        if queued := [t for t in trials if t.state == TrialState.WAITING]:
            first = next((t for t in queued if t.user_attrs.get(prefer) is True), queued[0])
            return self._take(connection, first, worker) if permit(first.user_attrs) else NoClaim.REFUSED
        if limit is not None and self.counted(trials) < limit and room(trials):
            return self._create(connection, worker) if permit({}) else NoClaim.REFUSED
        return NoClaim.WAIT if any(t.state == TrialState.RUNNING for t in trials) else NoClaim.DONE

    def _add_missing_successors(self, trials: Iterable[FrozenTrial]) -> int:
        """Queue the successors of lost trials that have none yet; return how many."""
        retried = {r for t in trials if type(r := t.user_attrs.get("retries")) is int}
        lost = [t for t in trials if self.requeues(t) and t.number not in retried]
        for trial in lost:
            self._add_successor(trial, trial.user_attrs["failure"])
        return len(lost)

    def _take(self, connection: sa.Connection, trial: FrozenTrial, worker: str) -> Claim | None:
        try:
            taken = self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            taken = False
        if not taken:  # another program has it, which doesn't respect the lock
            return None
        self._assign(connection, trial._trial_id, worker)
        return Claim(trial._trial_id, trial.number, {**trial.user_attrs, "worker": worker})

    def _create(self, connection: sa.Connection, worker: str) -> Claim:
        trial_id = self._database.uncached.create_new_trial(self.study_id)
        self._assign(connection, trial_id, worker)
        number = sa.text("SELECT number FROM trials WHERE trial_id = :trial_id")
        return Claim(trial_id, connection.execute(number, {"trial_id": trial_id}).scalar_one(), {"worker": worker})

    def _assign(self, connection: sa.Connection, trial_id: int, worker: str) -> None:
        connection.execute(BEAT, {"trial_id": trial_id})
        self._storage.set_trial_user_attr(trial_id, "worker", worker)

    def _fail(self, failing: Iterable[FrozenTrial], trials: Iterable[FrozenTrial], cause: str, detail: str) -> int:
        """Fail those that still run, and queue their successors; return how many failed."""
        failed = 0
        for trial in failing:
            try:
                self._storage.set_trial_user_attr(trial._trial_id, "failure", cause)
                if detail:
                    self._storage.set_trial_user_attr(trial._trial_id, "failure_detail", redact(detail)[-2000:])
                self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            except UpdateFinishedTrialError:
                continue
            failed += 1
            if self._has_successor(trial, cause):
                self._add_successor(trial, cause)
        return failed

    def _add_successor(self, trial: FrozenTrial, cause: str) -> None:
        """Queue a lost trial's successor, with the inherited attributes and the parameters given and set so far."""
        inherited = {k: v for k, v in trial.user_attrs.items() if k in self._inherited}
        tries = _tries(trial) + (cause == "lost")
        fixed = trial.system_attrs.get("fixed_params")
        params = (fixed if isinstance(fixed, dict) else {}) | trial.params
        self._add(params, inherited | {"retries": trial.number, "tries": tries})

    def _add(self, params: dict[str, Any], user_attrs: dict[str, Any]) -> None:
        """Add a waiting trial; `fixed_params` is how Optuna's own queue hands parameters to `suggest`."""
        waiting = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params}, user_attrs=user_attrs)
        self._database.uncached.create_new_trial(self.study_id, template_trial=waiting)


def _tries(trial: FrozenTrial) -> int:
    """Return the number of a trial's try, from 1; an attribute that isn't a number counts as absent."""
    tries = trial.user_attrs.get("tries")
    return max(1, tries) if type(tries) is int else 1
