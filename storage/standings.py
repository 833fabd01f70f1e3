"""The trials of a study as a pruner needs them: those that ended whole, those that run with their reports alone.

Optuna reads every running trial whole each time it is asked, parameters and attributes with it: a millisecond and more
for each worker there is, at each report of each of them.
"""

import sqlalchemy as sa
from optuna.storages._rdb.models import TrialIntermediateValueModel as Stored
from optuna.trial import FrozenTrial, TrialState, create_trial

from storage.database import Database

# Those not known to have ended, with the reports of those that run. Optuna numbers trials under a lock of the study:
# who has a lower number than one that was seen has been seen too.
NEWS = sa.text(
    """
    SELECT t.trial_id, t.number, t.state::text, v.step, v.intermediate_value, v.intermediate_value_type::text
    FROM trials t LEFT JOIN trial_intermediate_values v ON v.trial_id = t.trial_id AND t.state = 'RUNNING'
    WHERE t.study_id = :study_id AND (t.trial_id > :last OR t.trial_id = ANY(:open))
    """
)


class Standings:
    """What is known of one study's trials; for one thread."""

    def __init__(self, database: Database, study_id: int) -> None:
        self._database, self._study_id = database, study_id
        self._ended: dict[int, FrozenTrial] = {}
        self._open: set[int] = set()
        self._last = -1

    def trials(self) -> list[FrozenTrial]:
        """Return the trials that ended well or run; of a running one number, state and reports alone are told."""
        if self._last < 0:
            self._begin()
        with self._database.alone() as alone:
            query = {"study_id": self._study_id, "last": self._last, "open": sorted(self._open)}
            rows = alone.execute(NEWS, query).all()
        states = {row[0]: TrialState[row[2]] for row in rows}
        for trial_id in states.keys() - self._ended.keys():
            if states[trial_id] in (TrialState.COMPLETE, TrialState.PRUNED):
                self._ended[trial_id] = self._database.storage.get_trial(trial_id)
        self._open = {trial_id for trial_id, state in states.items() if not state.is_finished()}
        self._last = max([self._last, *states])
        running = [tuple(row) for row in rows if states[row[0]] == TrialState.RUNNING]
        return [*self._ended.values(), *_running(running)]

    def _begin(self) -> None:
        """Take over what Optuna's storage remembers, which has been read for the claim."""
        trials = self._database.storage.get_all_trials(self._study_id, deepcopy=False)
        ended = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        self._ended = {t._trial_id: t for t in ended}
        self._open = {t._trial_id for t in trials if not t.state.is_finished()}
        self._last = max((t._trial_id for t in trials), default=0)


def _running(rows: list[tuple[int, int, str, int | None, float | None, str | None]]) -> list[FrozenTrial]:
    reports: dict[int, dict[int, float]] = {}
    for _, number, _, step, value, kind in rows:
        of_trial = reports.setdefault(number, {})
        if step is not None and kind is not None:
            of_trial[step] = Stored.stored_repr_to_intermediate_value(value, Stored.TrialIntermediateValueType[kind])
    return [_numbered(number, values) for number, values in reports.items()]


def _numbered(number: int, reports: dict[int, float]) -> FrozenTrial:
    trial = create_trial(state=TrialState.RUNNING, intermediate_values=reports)
    trial.number = number
    return trial
