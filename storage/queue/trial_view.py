"""A study's trials as pruners, samplers and claims need them: finished trials whole, of the others only a part.

Optuna reads every running trial whole each time, with parameters, attributes and reports: a millisecond of processor
time or more for each worker, at each report of each of them, and under each claim's lock.
"""

import contextlib
import json
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb.models import TrialIntermediateValueModel as Stored
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage.errors import GoneError
from storage.server.database import GONE, Database

# Trials not known to have ended, with the reports of those that run. Optuna numbers trials under a lock of the study:
# if a trial has been seen, those with lower numbers have been seen too.
REPORTS = sa.text(
    """
    SELECT t.trial_id, t.number, t.state::text, v.step, v.intermediate_value, v.intermediate_value_type::text
    FROM trials t LEFT JOIN trial_intermediate_values v ON v.trial_id = t.trial_id AND t.state = 'RUNNING'
    WHERE t.study_id = :study_id AND (t.trial_id > :last OR t.trial_id = ANY(:open))
    ORDER BY t.trial_id
    """
)

# The same trials, with the attributes and the given parameters of those that wait or run.
ATTRIBUTES = sa.text(
    """
    SELECT t.trial_id, t.number, t.state::text, own.attrs, given.value_json
    FROM trials t
    LEFT JOIN LATERAL (
        SELECT json_object_agg(a.key, a.value_json) AS attrs FROM trial_user_attributes a
        WHERE a.trial_id = t.trial_id AND t.state IN ('RUNNING', 'WAITING')
    ) AS own ON TRUE
    LEFT JOIN trial_system_attributes given
        ON given.trial_id = t.trial_id AND given.key = 'fixed_params' AND t.state IN ('RUNNING', 'WAITING')
    WHERE t.study_id = :study_id AND (t.trial_id > :last OR t.trial_id = ANY(:open))
    ORDER BY t.trial_id
    """
)

# Tells a study without new trials from a deleted one.
EXISTS = sa.text("SELECT 1 FROM studies WHERE study_id = :study_id")


class TrialView:
    """One study's trials, read again only if they may have changed; for one thread at a time."""

    def __init__(self, database: Database, study_id: int) -> None:
        self._database, self._study_id = database, study_id
        self._ended: dict[int, FrozenTrial] = {}
        self._open: set[int] = set()
        self._last = -1

    def with_reports(self) -> list[FrozenTrial]:
        """Return the trials that run or ended without failure; running ones have only number, state and reports."""
        rows = self._news(REPORTS)
        reports: dict[tuple[int, int], dict[int, float]] = {}
        for trial_id, number, state, step, value, kind in rows:
            losses = reports.setdefault((trial_id, number), {}) if state == "RUNNING" else {}
            if step is not None and kind is not None:
                losses[step] = Stored.stored_repr_to_intermediate_value(value, Stored.TrialIntermediateValueType[kind])
        running = [_open_trial(*key, TrialState.RUNNING, intermediate_values=losses) for key, losses in reports.items()]
        return [t for t in self._ended.values() if t.state != TrialState.FAIL] + running

    def with_attributes(self, connection: sa.Connection | None = None) -> list[FrozenTrial]:
        """Return every trial, in order; those that wait or run have only user attributes and given parameters.

        `connection` is that of a transaction in which to read; None: of its own.
        """
        rows = self._news(ATTRIBUTES, connection)
        trials = list(self._ended.values())
        for trial_id, number, name, attrs, given in rows:
            state = TrialState[name]
            if not state.is_finished():
                user_attrs = {key: json.loads(value) for key, value in (attrs or {}).items()}
                params = {"fixed_params": json.loads(given)} if given is not None else {}
                trials.append(_open_trial(trial_id, number, state, user_attrs=user_attrs, system_attrs=params))
        return sorted(trials, key=lambda t: t.number)

    def _news(self, query: sa.TextClause, connection: sa.Connection | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of trials that had not ended at the last call, and cache those that have ended since.

        Raises `GoneError` if the study was deleted.
        """
        if self._last < 0:
            self._begin()
        values = {"study_id": self._study_id, "last": self._last, "open": sorted(self._open)}
        with contextlib.nullcontext(connection) if connection is not None else self._database.autocommit() as session:
            rows = [tuple(row) for row in session.execute(query, values)]
            if not rows and session.execute(EXISTS, values).first() is None:
                raise GoneError(GONE)
        states = {row[0]: TrialState[row[2]] for row in rows}
        for trial_id, state in states.items():
            if state.is_finished() and trial_id not in self._ended:
                self._ended[trial_id] = self._database.storage.get_trial(trial_id)
        self._open = {trial_id for trial_id, state in states.items() if not state.is_finished()}
        self._last = max([self._last, *states])
        return rows

    def _begin(self) -> None:
        """Start from the trials in the cache of Optuna's storage."""
        trials = self._database.storage.get_all_trials(self._study_id, deepcopy=False)
        self._ended = {t._trial_id: t for t in trials if t.state.is_finished()}
        self._open = {t._trial_id for t in trials if not t.state.is_finished()}
        self._last = max((t._trial_id for t in trials), default=0)


def _open_trial(trial_id: int, number: int, state: TrialState, **parts: Any) -> FrozenTrial:
    trial = create_trial(state=state, **parts)
    trial._trial_id, trial.number = trial_id, number
    return trial
