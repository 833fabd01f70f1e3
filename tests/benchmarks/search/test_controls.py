"""Tables by formula are what their names say, and coverage is counted as by hand."""

import math

import pytest
from scipy.stats import spearmanr

from tests.benchmarks.search.controls import BEST, CONTROLS, NOISE, OPTIMUM
from tests.benchmarks.search.made_up import BASELINE
from tests.benchmarks.search.predictions import Outcome, report


@pytest.mark.parametrize(
    ("name", "best", "rho"),
    [("perfect proxy", OPTIMUM, 1), ("reversed proxy", OPTIMUM, -1), ("baseline is the optimum", BASELINE, 1)],
)
def test_a_control_is_what_its_name_says(name: str, best: object, rho: float) -> None:
    table = CONTROLS[name]()
    assert table.ranking[0].params == best
    assert table.truth(table.ranking[0]) == pytest.approx(BEST)
    assert table.rows[0].params == BASELINE
    ranks = spearmanr([row.mean for row in table.rows], [row.proxy.final for row in table.rows])
    assert ranks.statistic == pytest.approx(rho)
    beginnings = spearmanr([row.mean for row in table.rows], [row.long[0].bpb[0] for row in table.rows])
    assert beginnings.statistic == pytest.approx(rho)
    assert [c.final - table.rows[0].mean for c in table.rows[0].long] == pytest.approx([-NOISE, NOISE])


def test_coverage_is_the_share_of_runs_within_their_intervals() -> None:
    known = [(3, 1.0), (4, 1.1), (4, 1.3), (9, math.inf)]
    outcomes = [Outcome(0, 10, 8, k, k == 4, bpb=1.0, half_width=0.2, result=r) for k, r in known]
    lines = report(outcomes).splitlines()
    assert [line.split("|")[1:4] for line in lines[2:]] == [
        [" 3 to 4 ", " 3 ", " 67% (21% … 94%) "],
        [" 8 to 12 ", " 1 ", " 0% (0% … 79%) "],
        [" 3 or more ", " 4 ", " 50% (15% … 85%) "],
    ]
