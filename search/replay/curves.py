"""Learning curves of finished runs at common report points, so that pruners can be tried on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from search.common.errors import SearchError

REPORTS = 20
"""Report points of a full run, if the runs' own can't be used."""
MIN_RUNS = 6
"""Fewest runs of a set; with fewer it says nothing about a pruner."""
EARLY_END = 0.05
"""Progress by which a whole run may end before the set's longest one."""
_COLUMNS = ("run_id", "progress", "loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedRun:
    """One finished run as it was recorded."""

    progress: Float[ndarray, " n"]
    """Fraction of the full run at each recorded loss, ascending."""
    loss: Float[ndarray, " n"]
    """Loss at each of these, lower being better; NaN or infinite if the run diverged."""
    final: float
    """Final loss, by which the run is judged."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CurveSet:
    """Runs of one trainer with the same report points; each loss is finite, or NaN if there is no report."""

    name: str
    steps: tuple[int, ...]
    """Step of each report but the last, as it is passed to a pruner."""
    last_step: int
    """The step at the end of a run."""
    loss: Float[ndarray, "runs steps"]
    """Loss at each report but the last; NaN before a run's first report."""
    final: Float[ndarray, " runs"]
    """Final loss of each run."""
    notes: tuple[str, ...] = ()
    """Sentences on what was left out or replaced, and why."""

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.final)

    @property
    def progress(self) -> tuple[float, ...]:
        """Fraction of the full run at each step."""
        return tuple(step / self.last_step for step in self.steps)


def curve_set(
    name: str,
    runs: Sequence[RecordedRun],
    *,
    steps: Sequence[int] = tuple(range(1, REPORTS + 1)),
    smooth: float = 0.0,
    notes: Sequence[str] = (),
) -> CurveSet:
    """Return the runs at common steps, the last of which is a run's end; raises `SearchError` if there are too few.

    A report is the mean of the losses in the last `smooth` of progress, or the last loss before, if there is none.
    """
    if len(runs) < MIN_RUNS:
        raise SearchError(_with_notes(f"{name} has {len(runs)} whole runs, but a replay needs >= {MIN_RUNS}", notes))
    runs, diverged = _finite(name, runs)
    final = np.array([run.final for run in runs])
    if final.min() == final.max():
        raise SearchError(f"all {len(runs)} runs of {name} end with the same loss: there is nothing to choose")
    points = [step / steps[-1] for step in steps[:-1]]
    return CurveSet(
        name=name,
        steps=tuple(steps[:-1]),
        last_step=steps[-1],
        loss=np.array([sampled(run, points, smooth) for run in runs]),
        final=final,
        notes=(*notes, *diverged),
    )


def _with_notes(text: str, notes: Sequence[str]) -> str:
    return f"{text}; {'; '.join(notes)}" if notes else text


def _finite(name: str, runs: Sequence[RecordedRun]) -> tuple[list[RecordedRun], list[str]]:
    """Return the runs with infinite and NaN losses replaced by the set's worst finite one, and a note on them."""
    losses = np.concatenate([[*run.loss, run.final] for run in runs])
    losses = losses[np.isfinite(losses)]
    if not len(losses):
        raise SearchError(f"no run of {name} has a finite loss")
    worst = float(losses.max())

    def replaced(run: RecordedRun) -> RecordedRun:
        loss = np.where(np.isfinite(run.loss), run.loss, worst)
        return RecordedRun(progress=run.progress, loss=loss, final=run.final if np.isfinite(run.final) else worst)

    count = sum(not (np.isfinite(run.loss).all() and np.isfinite(run.final)) for run in runs)
    note = f"{count} of {len(runs)} runs diverged: NaN and infinite losses count as the set's worst, {worst:.6g}"
    return [replaced(run) for run in runs], [note] if count else []


def sampled(run: RecordedRun, points: Sequence[float], smooth: float = 0.0) -> Float[ndarray, " points"]:
    """Return the loss that a run would have reported at each point; NaN before its first."""
    reported = np.full(len(points), np.nan)
    for index, at in enumerate(points):
        seen = run.progress <= at + 1e-9
        if not seen.any():
            continue
        near = seen & (run.progress > at - smooth)
        reported[index] = run.loss[near].mean() if near.any() else run.loss[seen][-1]
    return reported


def read_csv(path: Path, smooth: float = 0.0) -> CurveSet:
    """Read a CSV file, gzipped or not, with a row for each recorded loss: run_id, progress (0 to 1), loss."""
    name = path.name.removesuffix(".gz").removesuffix(".csv")
    ids, progress, loss = _columns(path)
    complete = ~(np.isnan(progress) | _missing(loss))
    order = np.lexsort((progress[complete], ids[complete]))
    ids, progress, loss = (column[complete][order] for column in (ids, progress, loss))
    loss = np.asarray(loss, dtype=float)
    _check_progress(path, ids, progress)
    runs, notes = whole_runs(_split(ids, progress, loss))
    if not complete.all():
        notes = [f"rows left out for want of a progress or a loss: {int((~complete).sum())}", *notes]
    return curve_set(name, runs, smooth=smooth, notes=notes)


def _columns(path: Path) -> tuple[Int[ndarray, " rows"], Float[ndarray, " rows"], Any]:
    """Return the file's three columns: runs as indices into their sorted names, losses as objects or None."""
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ConvertOptions(
        include_columns=list(_COLUMNS),
        column_types={"progress": pa.float64(), "loss": pa.float64()},
        null_values=["", "NA", "null", "None"],  # "nan" is a loss: the run diverged
    )
    try:
        path.open("rb").close()  # its errors are plainer than pyarrow's
        table = csv.read_csv(path, convert_options=options)
    except OSError as error:
        raise SearchError(f"{path} can't be read: {error.strerror or error}") from None
    except (pa.ArrowException, ValueError, KeyError) as error:
        reason = str(error.args[0] if error.args else error).splitlines()[0]
        raise SearchError(f"{path} must be a CSV file with the columns {', '.join(_COLUMNS)}: {reason}") from None
    _, ids = np.unique(table["run_id"].to_numpy(), return_inverse=True)
    progress = table["progress"].to_numpy(zero_copy_only=False)
    return ids, progress, np.array(table["loss"].to_pylist(), dtype=object)


def _missing(loss: Any) -> Bool[ndarray, " rows"]:
    return np.array([value is None for value in loss], dtype=bool)


def _check_progress(path: Path, ids: Int[ndarray, " rows"], progress: Float[ndarray, " rows"]) -> None:
    wrong = (progress < 0) | (progress > 1 + 1e-9)
    if wrong.any():
        raise SearchError(
            f"`progress` in {path} is {progress[wrong][0]:g}, but must be between 0 and 1, a fraction of the full run"
        )


def _split(
    ids: Int[ndarray, " rows"], progress: Float[ndarray, " rows"], loss: Float[ndarray, " rows"]
) -> list[RecordedRun]:
    cuts = np.flatnonzero(np.diff(ids)) + 1
    parts = zip(np.split(progress, cuts), np.split(loss, cuts), strict=True)
    return [RecordedRun(progress=p, loss=y, final=float(y[-1])) for p, y in parts if len(p)]


def whole_runs(runs: Sequence[RecordedRun]) -> tuple[list[RecordedRun], list[str]]:
    """Return the runs that are about as long as the longest one, and a note on the others."""
    longest = max((run.progress[-1] for run in runs), default=1.0)
    whole = [run for run in runs if run.progress[-1] >= longest - EARLY_END]
    short = len(runs) - len(whole)
    note = f"{short} of {len(runs)} runs end early, before {longest - EARLY_END:.0%} of the full run, and are left out"
    return whole, [note] if short else []
