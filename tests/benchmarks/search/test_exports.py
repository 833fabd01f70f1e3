import numpy as np
import pytest

from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.exports import Decisions, as_recorded, decided, report
from tests.benchmarks.search.figures import Replay
from tests.benchmarks.search.made_up import BASELINE, SCALE, STUDY, failing, row
from tests.benchmarks.search.trainer import PREFIX_REPEAT
from tests.benchmarks.table.rows import Row, Table

NOISE = 0.1
RESIDUAL = NOISE * 2**0.5
"""Of two runs, each so far from the true mean: their own is nearer."""


def recorded(*rows: Row, replay: int = 1) -> tuple[Table, Replay]:
    ranking = [{"row": r.number, "bpb": [r.mean], "failed": 0, "proxy": None} for r in reversed(rows)]
    search = Replay("ours", 5.0, 8, replay, 0, 0.0, False, False, 5.0, 20, len(rows), ranking)
    return Table(rows, STUDY.read_text(), 5.0, {}), search


def decisions(*rows: Row, draws: int = 4000) -> Decisions:
    table, search = recorded(*rows)
    return decided(search, table, draws)


def made(number: int, bpb: float, noise: float = 0.0) -> Row:
    return row(number, {**BASELINE, "n_layer": number + 1}, bpb, noise=noise)


def test_a_lead_must_exceed_the_margin() -> None:
    search = decisions(made(0, 2.3), made(1, 2.4), made(2, 2.28), draws=10)
    assert search.change("BPB", 0.01) == pytest.approx(-0.02)
    assert search.change("BPB", 0.03) == pytest.approx(0.0)


def test_a_worse_configuration_wins_as_often_as_its_noise_allows() -> None:
    """Both runs end one residual above or below: the worse one is ahead if it is below and the baseline above."""
    search = decisions(made(0, 2.3, NOISE), made(1, 2.31, NOISE))
    lost = search.change("BPB", 0.0)
    assert set(np.round(lost, 6)) == {0.0, 0.01}
    assert (lost > 0).mean() == pytest.approx(0.25, abs=0.03)
    assert search.gap.max() == pytest.approx(2 * RESIDUAL - 0.01)
    assert not search.change("BPB", 2 * RESIDUAL).any()


def test_noise_at_a_tenth_is_that_of_two_seeds() -> None:
    search = decisions(made(0, 2.3, NOISE), made(1, 2.5, NOISE), made(2, 2.4, NOISE))
    assert (search.units["noise at a tenth"] ** 2).mean() == pytest.approx(RESIDUAL**2, rel=0.05)


def test_candidates_that_diverge_are_left_out() -> None:
    search = decisions(made(0, 2.3), failing(made(1, 2.0)), made(2, 2.28), draws=10)
    assert search.change("BPB", 0.0) == pytest.approx(-0.02)


def test_a_report_has_a_line_for_each_rule() -> None:
    searches = [decisions(made(0, 2.3), made(1, 2.28), draws=10), decisions(made(0, 2.3), made(1, 2.34), draws=10)]
    lines = report(searches, searches[:1]).splitlines()
    assert lines[2] == "| 0 BPB | 0.0% | nan% | 0.0% | 0.0000 ± 0.0000 | 0 of 1 |"
    assert lines[7].startswith("| 0.03 BPB | 0.0% | nan% | 0.0% | 0.0100 ±")


@pytest.mark.parametrize("number", range(5))
def test_the_recorded_decision_is_by_the_replays_own_runs(number: int) -> None:
    table, search = recorded(made(0, 2.3, NOISE), made(1, 2.31, NOISE), replay=number)
    told = Answers(table, SCALE, number)
    (baseline, other), (proxy, other_proxy) = ([told.long(r, n) for r in table.rows] for n in (0, PREFIX_REPEAT))
    once = as_recorded(search, table)
    assert once.gap == pytest.approx(baseline.final - other.final)
    assert once.change("BPB", 0.0) == pytest.approx(0.01 if other.final < baseline.final else 0.0)
    apart = [one.final - two.final for one, two in ((baseline, proxy), (other, other_proxy))]
    assert once.units["noise at a tenth"] == pytest.approx((sum(d**2 for d in apart) / 4) ** 0.5)
