"""A study's trials as pruners, samplers and claims need them: those that ended whole, of the others what is asked for.

Optuna reads every running trial whole each time it is asked, parameters, attributes and reports: a millisecond of
processor time and more for each worker there is, at each report of each of them, and under each claim's lock.
"""

import contextlib
import json
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb.models import TrialIntermediateValueModel as Stored
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage.errors import GoneError
from storage.server.database import GONE, Database

# Those not known to have ended, with the reports of those that run. Optuna numbers trials under a lock of the study:
# who has a lower number than one that was seen has been seen too.
REPORTS = sa.text(
    """
    SELECT t.trial_id, t.number, t.state::text, v.step, v.intermediate_value, v.intermediate_value_type::text
    FROM trials t LEFT JOIN trial_intermediate_values v ON v.trial_id = t.trial_id AND t.state = 'RUNNING'
    WHERE t.study_id = :study_id AND (t.trial_id > :last OR t.trial_id = ANY(:open))
    ORDER BY t.trial_id
    """
)

# The same trials with what they are: the attributes, and the parameters given, of those that wait or run.
IDENTITIES = sa.text(
    """
    SELECT t.trial_id, t.number, t.state::text, told.attrs, given.value_json
    FROM trials t
    LEFT JOIN LATERAL (
        SELECT json_object_agg(a.key, a.value_json) AS attrs FROM trial_user_attributes a
        WHERE a.trial_id = t.trial_id AND t.state IN ('RUNNING', 'WAITING')
    ) AS told ON TRUE
    LEFT JOIN trial_system_attributes given
        ON given.trial_id = t.trial_id AND given.key = 'fixed_params' AND t.state IN ('RUNNING', 'WAITING')
    WHERE t.study_id = :study_id AND (t.trial_id > :last OR t.trial_id = ANY(:open))
    ORDER BY t.trial_id
    """
)

# A study that was deleted has no news either.
THERE = sa.text("SELECT 1 FROM studies WHERE study_id = :study_id")


class Standings:
    """What is known of one study's trials; for one thread at a time."""

    def __init__(self, database: Database, study_id: int) -> None:
        self._database, self._study_id = database, study_id
        self._ended: dict[int, FrozenTrial] = {}
        self._open: set[int] = set()
        self._last = -1

    def reported(self) -> list[FrozenTrial]:
        """Return the trials that ended well or run; of a running one number, state and reports alone are told."""
        rows = self._news(REPORTS)
        reports: dict[tuple[int, int], dict[int, float]] = {}
        for trial_id, number, state, step, value, kind in rows:
            of_trial = reports.setdefault((trial_id, number), {}) if state == "RUNNING" else {}
            if step is not None and kind is not None:
                of_trial[step] = Stored.stored_repr_to_intermediate_value(
                    value, Stored.TrialIntermediateValueType[kind]
                )
        running = [_open_trial(*who, TrialState.RUNNING, intermediate_values=r) for who, r in reports.items()]
        return [t for t in self._ended.values() if t.state != TrialState.FAIL] + running

    def identified(self, connection: sa.Connection | None = None) -> list[FrozenTrial]:
        """Return every trial, in order; of one that waits or runs attributes and given parameters alone are told."""
        rows = self._news(IDENTITIES, connection)
        found = list(self._ended.values())
        for trial_id, number, name, attrs, given in rows:
            state = TrialState[name]
            if not state.is_finished():
                told = {key: json.loads(value) for key, value in (attrs or {}).items()}
                params = {"fixed_params": json.loads(given)} if given is not None else {}
                found.append(_open_trial(trial_id, number, state, user_attrs=told, system_attrs=params))
        return sorted(found, key=lambda t: t.number)

    def _news(self, query: sa.TextClause, connection: sa.Connection | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of trials that had not ended at the last look, and remember those that have since.

        Raises `GoneError` where the study was deleted.
        """
        if self._last < 0:
            self._begin()
        values = {"study_id": self._study_id, "last": self._last, "open": sorted(self._open)}
        with contextlib.nullcontext(connection) if connection is not None else self._database.alone() as asked:
            rows = [tuple(row) for row in asked.execute(query, values)]
            if not rows and asked.execute(THERE, values).first() is None:
                raise GoneError(GONE)
        states = {row[0]: TrialState[row[2]] for row in rows}
        for trial_id, state in states.items():
            if state.is_finished() and trial_id not in self._ended:
                self._ended[trial_id] = self._database.storage.get_trial(trial_id)
        self._open = {trial_id for trial_id, state in states.items() if not state.is_finished()}
        self._last = max([self._last, *states])
        return rows

    def _begin(self) -> None:
        """Take over what Optuna's storage remembers."""
        trials = self._database.storage.get_all_trials(self._study_id, deepcopy=False)
        self._ended = {t._trial_id: t for t in trials if t.state.is_finished()}
        self._open = {t._trial_id for t in trials if not t.state.is_finished()}
        self._last = max((t._trial_id for t in trials), default=0)


def _open_trial(trial_id: int, number: int, state: TrialState, **told: Any) -> FrozenTrial:
    trial = create_trial(state=state, **told)
    trial._trial_id, trial.number = trial_id, number
    return trial
