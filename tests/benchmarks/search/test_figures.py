import pytest

from tests.benchmarks.search.figures import Replay, mean_text, report, share_text
from tests.benchmarks.search.made_up import BASELINE, STUDY, failing, row
from tests.benchmarks.search.ours import Found
from tests.benchmarks.table.rows import Row, Table

ROWS = [row(n, {**BASELINE, "n_layer": n + 1}, bpb) for n, bpb in enumerate((2.3, 2.0, 2.1, 2.2, 2.9))]
TABLE = Table((*ROWS, failing(row(5, {**BASELINE, "n_layer": 6}, 2.0))), STUDY.read_text(), 5.0, {})


def judged(export: Row | None, arm: str = "ours", replay: int = 0) -> Replay:
    return Replay.of(TABLE, (arm, 5.0, 1, replay), Found(export, 3600.0, 4, 2), 1800.0)


@pytest.mark.parametrize(
    ("number", "regret", "worse", "best"),
    [
        (1, 0.0, False, True),
        (3, 0.2, False, True),
        (0, 0.3, False, False),
        (4, 0.9, True, False),
        (5, 0.9, True, False),
    ],
)
def test_an_export_is_judged_by_its_true_mean(number: int, regret: float, worse: bool, best: bool) -> None:
    """By the best, 2.0; by the baseline, 2.3; what diverged counts as the worst, 2.9."""
    found = judged(TABLE.rows[number])
    assert found.regret == pytest.approx(regret)
    assert (found.worse, found.best, found.export) == (worse, best, number)
    assert (found.spent, found.short, found.long) == (2.0, 4, 2)


def test_no_export_is_as_bad_as_the_worst() -> None:
    found = judged(None)
    assert found.regret == pytest.approx(0.9)
    assert (found.worse, found.best, found.export) == (True, False, -1)


def test_intervals_are_students_and_wilsons() -> None:
    """1, 2, 3: 2 ± 4.3027 · 1 / √3. 5 of 10: .2366 to .7634 (Newcombe, Statistics in Medicine 17, 1998)."""
    assert mean_text([1, 2, 3]) == "2.0000 ± 2.4841"
    assert share_text([True] * 5 + [False] * 5) == "50% (24% … 76%)"
    assert share_text([False] * 10).startswith("0% (0% …")


def test_arms_are_compared_on_the_same_replays() -> None:
    replays = [judged(TABLE.rows[1], replay=n) for n in range(3)]
    replays += [judged(TABLE.rows[n], "other", replay=i) for i, n in enumerate((1, 2, 3))]
    lines = report(replays, "ours").splitlines()
    assert lines[0] == "1 workers, money for 5 long runs"
    assert lines[4].startswith("| ours | 3 | 0.0000 ± 0.0000 | 0.0000 ± 0.0000 | 0%")
    assert lines[5].startswith("| other | 3 | 0.1000 ± 0.2484 | 0.1000 ± 0.2484 |")
