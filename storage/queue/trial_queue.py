"""One Optuna study's trials as a queue that unreliable workers share: claim, heartbeat, reap, retry.

Every change of who works on what is one transaction under one advisory lock of the study: it happens whole or not at
all, wherever a worker or its network is cut. Only the database's clock counts, so that workers' clocks and time zones
are harmless.
"""

import enum
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage.access import roles
from storage.queue.liveness_sql import BEAT, NOTICE, STALE
from storage.queue.trial_view import Standings
from storage.redaction import redact
from storage.server.database import Database

REQUEUED = ("lost", "interrupted")
"""Causes of failure that are not the configuration's own fault."""


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
        study_name: the study, which must exist; by its `study_id` where another may have the name by now.
        identity: whose queue it is: what was written for another study is not delivered to it.
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
        study_id: int | None = None,
        identity: str = "",
    ) -> None:
        self._database, self._storage = database, database.storage
        self._name, self._grace_seconds = study_name, grace_seconds
        self._inherited, self._max_tries = tuple(inherited), max_tries
        self._lock = f"lilm-search/queue/{lock or study_name}"
        self.study_id = self._storage.get_study_id_from_name(study_name) if study_id is None else study_id
        self.identity = identity
        self.standings = Standings(database, self.study_id)
        """Its trials for a pruner, which asks from a thread of its own."""
        self._standings = Standings(database, self.study_id)

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
    ) -> Claim | Outcome:
        """Take a waiting trial, or a new one while fewer than `limit` slots are taken (None: no new ones).

        A slot is every trial but those that were lost and have a successor: `limit` asked are exactly `limit`
        trained, however many workers race. A waiting trial with the attribute `prefer` goes first. The first
        heartbeat is written before anyone else may look. The caller suggests the parameters, outside the lock.
        `permit` is asked, under the lock, whether a trial with these attributes may be taken (a new one has none).

        Where the answer is lost the trial may have been taken: nobody beats for it, and it goes stale.
        """
        claim: Claim | Outcome | None = None
        while claim is None:
            self.reap()
            with self._atomic() as connection:
                claim = self._claim(connection, worker, limit, prefer, permit)
        if isinstance(claim, Claim):
            self._remember(claim.trial_id)
        return claim

    def beat(self, trial_id: int) -> bool:
        """Record a sign of life; returns False when the trial isn't running any more: it was taken away."""
        with self._database.alone() as connection:
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
        """Record a failure with its cause; a trial whose fault it isn't is queued again at once.

        Returns False, and changes nothing, when it had ended already.
        """
        with self._atomic():
            trials = self._trials()
            return self._fail([t for t in trials if t._trial_id == trial_id], trials, cause, detail) == 1

    def enqueue(
        self, params: Mapping[str, Any], user_attrs: Mapping[str, Any], told: Mapping[str, Any] | None = None
    ) -> bool:
        """Queue a trial with these parameters; returns False where one with these attributes exists already.

        `told` are further attributes, which don't tell trials apart.
        """
        with self._atomic():
            if any(user_attrs.items() <= t.user_attrs.items() for t in self._trials()):
                return False
            self._add(dict(params), {**user_attrs, **(told or {})})
            return True

    def reconcile(self) -> None:
        """Take trials from silent workers, and queue again what was lost; may be called by anyone at any time."""
        self._find_stale()
        with self._atomic() as connection:
            stale = set(connection.execute(STALE, self._grace).scalars())
            trials = self._trials()
            silent = [t for t in trials if t._trial_id in stale]
            self._fail(silent, trials, "lost", f"silent for more than {self._grace_seconds:g} s")
            self._succeed_lost(trials)

    def reap(self) -> bool:
        """Reconcile where a worker has fallen silent, which is cheap to find out; returns whether one had."""
        stale = self._find_stale()
        if stale:
            self.reconcile()
        return stale

    def release_worker(self, worker: str) -> int:
        """Take the running trials of a worker that is known to be dead, at once; returns how many."""
        with self._atomic():
            trials = self._trials()
            mine = [t for t in trials if t.state == TrialState.RUNNING and t.user_attrs.get("worker") == worker]
            return self._fail(mine, trials, "lost", f"worker {worker} died")

    def slots(self, trials: Iterable[FrozenTrial] | None = None) -> int:
        """Return how many trials count towards the number asked for; of those read before, or as they are now."""
        return self._slots(self._trials() if trials is None else trials)

    def requeues(self, trial: FrozenTrial) -> bool:
        """Return whether a trial was lost and its slot passes on to a successor."""
        return trial.state == TrialState.FAIL and self._passes_on(trial, trial.user_attrs.get("failure"))

    def _passes_on(self, trial: FrozenTrial, cause: str | None) -> bool:
        return cause in REQUEUED and _tries(trial) < self._max_tries

    def _atomic(self) -> AbstractContextManager[sa.Connection]:
        return self._database.atomic(self._lock)

    @property
    def _grace(self) -> dict[str, Any]:
        return {"study_id": self.study_id, "grace_seconds": self._grace_seconds}

    def _trials(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self.study_id, deepcopy=False)

    def identified(self) -> list[FrozenTrial]:
        """Return every trial, those that wait or run with attributes and given parameters alone.

        To be called under a lock of the database, which lets in one thread of this process.
        """
        return self._standings.identified()

    def _remember(self, trial_id: int) -> None:
        """Let Optuna's storage know of a trial, now that it is certain: it sets parameters of those it knows alone."""
        storage: Any = self._storage
        trial = self._database.uncached.get_trial(trial_id)
        with storage._lock:
            storage._add_trials_to_cache(self.study_id, [trial])

    def _slots(self, trials: Iterable[FrozenTrial]) -> int:
        return sum(not self.requeues(t) for t in trials)

    def _find_stale(self) -> bool:
        """Note who has fallen silent; returns whether somebody has been so for long enough."""
        with self._database.alone() as connection:
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
    ) -> Claim | Outcome | None:
        """Claim under the lock; None where one must look again: something had to be put right, or changed."""
        trials = self._standings.identified(connection)
        if self._succeed_lost(trials):
            return None
        if queued := [t for t in trials if t.state == TrialState.WAITING]:
            first = next((t for t in queued if t.user_attrs.get(prefer) is True), queued[0])
            return self._take(connection, first, worker) if permit(first.user_attrs) else Outcome.REFUSED
        if limit is not None and self._slots(trials) < limit:
            return self._create(connection, worker) if permit({}) else Outcome.REFUSED
        return Outcome.WAIT if any(t.state == TrialState.RUNNING for t in trials) else Outcome.DONE

    def _succeed_lost(self, trials: Iterable[FrozenTrial]) -> int:
        """Give lost trials whose slot nobody has their successors; returns how many there were."""
        succeeded = {r for t in trials if type(r := t.user_attrs.get("retries")) is int}
        lost = [t for t in trials if self.requeues(t) and t.number not in succeeded]
        for trial in lost:
            self._succeed(trial, trial.user_attrs["failure"])
        return len(lost)

    def _take(self, connection: sa.Connection, trial: FrozenTrial, worker: str) -> Claim | None:
        try:
            taken = self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            taken = False
        if not taken:  # by another program, which knows nothing of our lock
            return None
        self._hold(connection, trial._trial_id, worker)
        return Claim(trial._trial_id, trial.number, {**trial.user_attrs, "worker": worker})

    def _create(self, connection: sa.Connection, worker: str) -> Claim:
        trial_id = self._database.uncached.create_new_trial(self.study_id)
        self._hold(connection, trial_id, worker)
        number = sa.text("SELECT number FROM trials WHERE trial_id = :trial_id")
        return Claim(trial_id, connection.execute(number, {"trial_id": trial_id}).scalar_one(), {"worker": worker})

    def _hold(self, connection: sa.Connection, trial_id: int, worker: str) -> None:
        connection.execute(BEAT, {"trial_id": trial_id})
        self._storage.set_trial_user_attr(trial_id, "worker", worker)

    def _fail(self, failing: Iterable[FrozenTrial], trials: Iterable[FrozenTrial], cause: str, detail: str) -> int:
        """Fail those that still run, and queue a successor for each whose slot passes on; returns how many failed."""
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
            if self._passes_on(trial, cause):
                self._succeed(trial, cause)
        return failed

    def _succeed(self, trial: FrozenTrial, cause: str) -> None:
        """Queue a lost trial's successor, with what it is and the parameters given and set so far."""
        kept = {k: v for k, v in trial.user_attrs.items() if k in self._inherited}
        tries = _tries(trial) + (cause == "lost")
        fixed = trial.system_attrs.get("fixed_params")
        params = (fixed if isinstance(fixed, dict) else {}) | trial.params
        self._add(params, kept | {"retries": trial.number, "tries": tries})

    def _add(self, params: dict[str, Any], user_attrs: dict[str, Any]) -> None:
        """Add a waiting trial; `fixed_params` is how Optuna's own queue hands parameters to `suggest`."""
        waiting = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params}, user_attrs=user_attrs)
        self._database.uncached.create_new_trial(self.study_id, template_trial=waiting)


def _tries(trial: FrozenTrial) -> int:
    """Return which try of its configuration a trial is; what a worker wrote that is no number counts as absent."""
    tries = trial.user_attrs.get("tries")
    return max(1, tries) if type(tries) is int else 1
