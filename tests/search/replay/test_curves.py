import gzip
from pathlib import Path

import numpy as np
import pytest

from search.common.errors import SearchError
from search.replay.curves import CurveSet, RecordedRun, curve_set, read_csv, sampled

NAN, INF = float("nan"), float("inf")


def run(final: float, loss: list[float] | None = None, end: float = 1.0) -> RecordedRun:
    loss = loss or [final + 3, final + 2, final + 1, final]
    return RecordedRun(progress=np.linspace(end / len(loss), end, len(loss)), loss=np.array(loss), final=final)


def rows(runs: int, end: float = 1.0) -> list[str]:
    """Four losses for each run, which fall by 1 to the run's number."""
    return [f"{r},{end * p / 4},{r + 4 - p}" for r in range(runs) for p in range(1, 5)]


def write(path: Path, lines: list[str], head: str = "run_id,progress,loss") -> Path:
    text = "\n".join([head, *lines, ""]).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def test_reports_are_the_last_losses_seen_or_their_mean() -> None:
    recorded = RecordedRun(progress=np.array([0.1, 0.3, 0.35, 1.0]), loss=np.array([8.0, 4.0, 6.0, 1.0]), final=1.0)
    assert sampled(recorded, [0.05, 0.1, 0.25, 0.4, 0.9]) == pytest.approx([NAN, 8, 8, 6, 6], nan_ok=True)
    assert sampled(recorded, [0.4, 0.9], smooth=0.2) == pytest.approx([5, 6])  # (4 + 6) / 2; none near: the last
    assert sampled(recorded, [0.4], smooth=1.0) == pytest.approx([6])  # (8 + 4 + 6) / 3


@pytest.mark.parametrize("name", ["made.csv", "made.csv.gz"])
def test_a_file_s_runs_at_twenty_equal_steps(tmp_path: Path, name: str) -> None:
    lines = rows(12)
    curves = read_csv(write(tmp_path / name, [*lines[::-1]]))  # in any order
    assert (curves.name, curves.runs, curves.steps, curves.last_step) == ("made", 12, tuple(range(1, 20)), 20)
    assert curves.final.tolist() == list(range(12))
    assert curves.loss[2] == pytest.approx([NAN] * 4 + [5] * 5 + [4] * 5 + [3] * 5, nan_ok=True)
    assert curves.progress[4] == 0.25
    assert curves.notes == ()


def test_numbers_sort_as_numbers_and_names_are_allowed(tmp_path: Path) -> None:
    named = [f"r{line}" for line in rows(12)]
    assert read_csv(write(tmp_path / "a.csv", named)).final.tolist() == [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]


def test_diverged_runs_count_as_the_worst_and_a_note_says_so(tmp_path: Path) -> None:
    lines = [*rows(11), "11,0.5,nan", "11,1.0,inf", "12,0.5,70", "12,1.0,NaN"]
    curves = read_csv(write(tmp_path / "a.csv", lines))
    assert np.isfinite(curves.loss[:, 10:]).all()
    assert curves.final[11:].tolist() == [70, 70]
    assert curves.notes == ("2 of 13 runs diverged: NaN and infinite losses count as the set's worst, 70",)


def test_rows_without_a_loss_and_runs_that_end_early_are_left_out(tmp_path: Path) -> None:
    lines = [*rows(12), "12,0.5,3", "12,0.9,2", "0,0.6,"]
    curves = read_csv(write(tmp_path / "a.csv", lines))
    assert curves.runs == 12
    assert curves.notes == (
        "rows left out for want of a progress or a loss: 1",
        "1 of 13 runs end early, before 95% of the full run, and are left out",
    )


@pytest.mark.parametrize(
    ("lines", "head", "message"),
    [
        (rows(5), "run_id,progress,loss", "has 5 whole runs, but a replay needs >= 6"),
        (rows(12, end=100), "run_id,progress,loss", "is 25, but must be between 0 and 1"),
        (rows(12), "run,step,value", "must be a CSV file with the columns run_id, progress, loss: .*run_id"),
        ([*rows(12), "3,0.7,low"], "run_id,progress,loss", "must be a CSV file with the columns .*low"),
        ([f"{r},1,2.5" for r in range(12)], "run_id,progress,loss", "all 12 runs of a end with the same loss"),
        ([f"{r},1,nan" for r in range(12)], "run_id,progress,loss", "no run of a has a finite loss"),
        ([], "run_id,progress,loss", "has 0 whole runs"),
    ],
)
def test_a_file_that_can_t_be_replayed_is_refused_in_a_sentence(
    tmp_path: Path, lines: list[str], head: str, message: str
) -> None:
    with pytest.raises(SearchError, match=message) as caught:
        read_csv(write(tmp_path / "a.csv", lines, head))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_no_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"none.csv can't be read: No such file"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "a.csv.gz").write_text("run_id,progress,loss", encoding="utf-8")
    with pytest.raises(SearchError, match=r"a.csv.gz can't be read"):
        read_csv(tmp_path / "a.csv.gz")


def test_own_steps_are_kept() -> None:
    curves: CurveSet = curve_set("own", [run(f) for f in range(10)], steps=(1, 2, 3, 4))
    assert (curves.steps, curves.last_step, curves.progress) == ((1, 2, 3), 4, (0.25, 0.5, 0.75))
    assert curves.loss[4].tolist() == [7, 6, 5]
