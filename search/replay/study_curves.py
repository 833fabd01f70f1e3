"""Learning curves of the finished trials of any Optuna study, in any storage that Optuna reads."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalRedisBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from search.common.errors import SearchError
from search.replay.curves import REPORTS, CurveSet, RecordedRun, curve_set, whole_runs
from search.study.connection import open_database
from search.study.trials import attributes_of
from storage.errors import StorageError
from storage.redaction import redact, shown_address
from storage.server.address import check_address

MAX_REPORTS = 50
"""Most report points of a study; curves with more are thinned, to keep a replay quick."""
MIN_CONTROLS = 30
"""Fewest finished control trials to replay them alone."""
BIASED = "pruned trials are missing, so the sample is biased to survivors, among which pruning has less to gain"


@contextmanager
def opened_study(name: str, url: str | None) -> Iterator[optuna.Study]:
    """Open a study in this storage; without a URL, in this machine's embedded database."""
    with _open_storage(url) as storage:
        names = optuna.get_all_study_names(storage)
        if name not in names:
            stored = f"it holds: {', '.join(sorted(names))}" if names else "it holds none"
            raise SearchError(f'--study is "{name}", but no study in this storage has that name; {stored}')
        yield optuna.load_study(study_name=name, storage=storage)


def read_study(name: str, url: str | None, smooth: float = 0.0) -> CurveSet:
    """Return the curves of a study in this storage; without a URL, in this machine's embedded database."""
    with opened_study(name, url) as study:
        return study_curves(study, smooth)


@contextmanager
def _open_storage(url: str | None) -> Iterator[BaseStorage]:
    if url is None or url.startswith(("postgres", "file:")):
        with open_database(url, "replay") as database:
            yield database.storage
        return
    storage = _foreign_storage(url)
    try:
        yield optuna.storages.get_storage(storage)
    finally:
        if isinstance(storage, RDBStorage):
            storage.remove_session()
            storage.engine.dispose()


def _foreign_storage(url: str) -> BaseStorage:
    """Open a storage as Optuna's own command line does: a journal in a file or in Redis, else a database."""
    try:
        if Path(url).is_file():
            return JournalStorage(JournalFileBackend(url))
        if not url.startswith("sqlite:///"):  # a file's name may hold an @
            check_address(url)
        if url.startswith("redis"):
            return JournalStorage(JournalRedisBackend(url))
        _check_file(sa.make_url(url))
        return RDBStorage(url, skip_table_creation=True)  # it is only read, so nothing in it is created
    except (SearchError, StorageError):
        raise
    except sa.exc.ArgumentError:
        allowed = "a URL such as sqlite:///study.db or postgresql://…, or the path of a journal file"
        raise SearchError(f"--storage is {shown_address(url)}, but must be {allowed}") from None
    except Exception as error:  # drivers that are missing, servers that are away, files of another format
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SearchError(f"--storage {shown_address(url)} can't be opened: {redact(reason)}") from None


def _check_file(url: sa.URL) -> None:
    """Refuse an SQLite file that isn't there: opening it would make an empty one."""
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        path = Path(str(url.database))
        if not str(path).startswith("file:") and not path.is_file():
            raise SearchError(f"--storage names the file {redact(str(path))}, but there is none")


def study_curves(study: optuna.Study, smooth: float = 0.0) -> CurveSet:
    """Return the curves of a study's finished trials, lower being better; raises `SearchError` if it has none."""
    if len(study.directions) > 1:
        raise SearchError(f'"{study.study_name}" has {len(study.directions)} objectives, but a replay needs 1')
    trials, notes = _replayable(study.get_trials(deepcopy=False))
    sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
    if sign < 0:
        notes.append("the study maximises: losses are its values with the sign turned")
    end = _common_end(trials)
    runs = [_run(trial, sign, end) for trial in trials]
    steps = _counted_steps(trials)
    if steps is None:
        runs, short = whole_runs(runs)
        how = f"report points differ from trial to trial or are more than {MAX_REPORTS}"
        notes += [*short, f"{how}: replayed at {REPORTS} equal steps of progress"]
        return curve_set(study.study_name, runs, smooth=smooth, notes=notes)
    if len(steps) < 2:
        raise SearchError(f'trials of "{study.study_name}" report once, at their end: a pruner has nothing to judge')
    return curve_set(study.study_name, runs, steps=steps, smooth=smooth, notes=notes)


def _replayable(trials: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], list[str]]:
    """Return the trials that can be replayed, with notes on the others."""
    left_out = Counter(t.state.name.lower() for t in trials if t.state != TrialState.COMPLETE)
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    whole = [t for t in complete if t.intermediate_values]
    left_out["finished without a report"] = len(complete) - len(whole)
    causes = ", ".join(f"{n} {cause}" for cause, n in sorted(left_out.items()) if n)
    notes = [f"{len(whole)} of {len(trials)} trials are replayed; left out: {causes}"] if causes else []
    if not left_out["pruned"]:
        return whole, notes
    controls = [t for t in whole if attributes_of(t).control]
    if len(controls) >= MIN_CONTROLS:
        drawn = f"of these, only the {len(controls)} control trials, drawn at random never to be pruned, are replayed"
        return controls, [*notes, drawn]
    return whole, [*notes, BIASED]


def own_steps(trials: Sequence[FrozenTrial]) -> tuple[int, ...] | None:
    """Return the steps at which all of these trials reported, or None if they differ or are too many."""
    own = {tuple(sorted(t.intermediate_values)) for t in trials}
    return own.pop() if len(own) == 1 and max(map(len, own)) <= MAX_REPORTS else None


def _counted_steps(trials: Sequence[FrozenTrial]) -> tuple[int, ...] | None:
    """Return the trials' common steps in their largest common unit, counted from 1, or None if there are none."""
    own = own_steps(trials)
    if own is None:
        return None
    steps = _from_one(own)
    unit = math.gcd(*steps)
    return tuple(step // unit for step in steps)


def _from_one(steps: tuple[int, ...]) -> tuple[int, ...]:
    """Shift steps that start at 0 by one interval: report 0 comes after the first interval of training."""
    if steps[0] > 0:
        return steps
    shift = steps[1] if len(steps) > 1 else 1
    return tuple(step + shift for step in steps)


def _common_end(trials: Sequence[FrozenTrial]) -> int | None:
    """Return the step at which at least half of the trials end; None if there is none."""
    ends = Counter(max(t.intermediate_values) for t in trials).most_common(1)
    return ends[0][0] if ends and 2 * ends[0][1] >= len(trials) else None


def _run(trial: FrozenTrial, sign: float, end: int | None) -> RecordedRun:
    """Return a trial as a run; its progress is relative to the common end, or to its own if that is later."""
    steps = tuple(sorted(trial.intermediate_values))
    counted = np.array(_from_one(steps), dtype=float)
    total = counted[-1] if end is None else max(counted[-1], end + counted[0] - steps[0])
    loss = sign * np.array([trial.intermediate_values[step] for step in steps], dtype=float)
    assert trial.value is not None
    return RecordedRun(progress=counted / total, loss=loss, final=sign * trial.value)
