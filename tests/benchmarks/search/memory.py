"""A study's database in memory: the project's own queue and studies, with what needs a server put aside.

One process at a time works on it, so that there is nothing to lock, and no worker falls silent.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.layout import part

GIVEN = "fixed_params"
"""Attribute by which parameters are handed to a trial, Optuna's own way."""


class TableStorage(InMemoryStorage):
    """Optuna's, where every configuration that is drawn becomes the nearest row of the table that isn't taken."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = answers

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Set an attribute; parameters that are given all at once are those of a row."""
        if key == GIVEN:
            value = dict(self.answers.nearest(value).params)
        super().set_trial_system_attr(trial_id, key, value)

    def settle(self, trial_id: int) -> Mapping[str, Any]:
        """Put the nearest row's values in the place of those that a trial has drawn one by one; returns them."""
        with self._lock:
            trial = self._get_trial(trial_id)
            params = dict(self.answers.nearest(trial.params).params)
            trial.params = params
            return params


class MemoryDatabase:
    """What the project asks of its database, answered at once."""

    def __init__(self, storage: InMemoryStorage) -> None:
        self.storage = self.uncached = storage

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Lock nothing."""
        yield

    @contextlib.contextmanager
    def atomic(self, name: str) -> Iterator[None]:
        """Likewise; there is no connection."""
        yield

    def retrying(self, call: Callable[[], Any], **options: Any) -> Any:
        """Call once: memory is never away."""
        return call()


class MemoryView:
    """Trials for pruners, samplers and claims, as `storage.queue.trial_view` returns them."""

    def __init__(self, storage: InMemoryStorage, study_id: int) -> None:
        self._storage, self._study_id = storage, study_id

    def with_reports(self) -> list[FrozenTrial]:
        """Return the trials that ended well or run."""
        told = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        return self._storage.get_all_trials(self._study_id, deepcopy=False, states=told)

    def with_attributes(self, connection: object = None) -> list[FrozenTrial]:
        """Return every trial, in order."""
        return self._storage.get_all_trials(self._study_id, deepcopy=False)

    reported, identified = with_reports, with_attributes  # as commit 1c68674 calls them


def memory_queue() -> type[Any]:
    """Return the project's queue, without heartbeats."""
    trial_queue: Any = part("storage.queue.trial_queue", "TrialQueue")

    class MemoryQueue(trial_queue):  # type: ignore[misc]
        """The project's queue on a storage in memory."""

        def __init__(self, database: MemoryDatabase, *arguments: Any, **options: Any) -> None:
            super().__init__(database, *arguments, **options)
            self._number = database.storage.get_study_id_from_name(self.name)
            self.trial_view = self._claim_view = MemoryView(database.storage, self._number)
            self.standings = self._standings = self.trial_view  # as commit 1c68674 calls them

        def reap(self) -> bool:
            """Find nobody silent."""
            return False

        def _create(self, connection: object, worker: str) -> Any:
            trial_id = self._storage.create_new_trial(self._number)
            self._assign(connection, trial_id, worker)
            claim = part("storage.queue.trial_queue", "Claim")
            return claim(trial_id, self._storage.get_trial(trial_id).number, {"worker": worker})

        def _assign(self, connection: object, trial_id: int, worker: str) -> None:
            self._storage.set_trial_user_attr(trial_id, "worker", worker)

        def _add_to_cache(self, trial_id: int) -> None:
            pass

        _hold, _remember = _assign, _add_to_cache  # as commit 1c68674 calls them

    return MemoryQueue


class Answered:
    """An answer that is there."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def done(self) -> bool:
        """Return that it is."""
        return True

    def result(self) -> Any:
        """Return it."""
        return self._value

    get = result


class MemoryOutbox:
    """The project's outbox, delivering at once; `changed` is called when a trial has ended."""

    refused = None
    away = False

    def __init__(self, database: MemoryDatabase, changed: Callable[[], None]) -> None:
        self._storage, self._changed = database.storage, changed

    def lost(self, trial_id: int) -> bool:
        """Return that no trial is taken away."""
        return False

    def report(self, queue: Any, trial_id: int, step: int, value: float) -> None:
        """Set the loss at a step."""
        self._storage.set_trial_intermediate_value(trial_id, step, value)

    def attributes(self, queue: Any, trial_id: int, attributes: Mapping[str, Any]) -> None:
        """Set user attributes."""
        for key, value in attributes.items():
            self._storage.set_trial_user_attr(trial_id, key, value)

    def finish(self, queue: Any, trial_id: int, state: TrialState, value: float | None) -> None:
        """Set the end of a trial."""
        queue.finish(trial_id, state, value)
        self._changed()

    def fail(self, queue: Any, trial_id: int, cause: str, detail: str = "") -> None:
        """Set a trial's failure; raises `RuntimeError` for one that isn't its configuration's fault."""
        if cause not in ("diverged", "out_of_memory"):
            raise RuntimeError(f"a trial of a replay ended as {cause}: {detail}")
        queue.fail(trial_id, cause, detail)
        self._changed()

    def ask(self, question: Callable[[], Any]) -> Answered:
        """Answer at once."""
        return Answered(question())

    def wait(self, seconds: float) -> bool:
        """Return that all is delivered."""
        return True

    wait_patiently = wait
