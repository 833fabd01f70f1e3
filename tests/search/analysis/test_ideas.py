"""Ideas beside the plain configuration, with numbers worked by hand and scipy's own Dunnett test."""

from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console
from scipy import stats

from search.analysis.ideas import Verdict, compared, summary
from search.show.figures.gallery import PICTURES
from search.show.figures.ideas import draw_ideas
from search.show.status.ideas_table import ideas_table
from search.study.plan import Plan
from tests.search.show.given import snapshot

PLAN = Plan.parse(
    """
[data]
source = "builtin"
[proxy]
sampler = "grid"
repeats = 2
budget = "1m"
[ideas]
better = { kv_blocks = 2 }
worse = { zero_init = true }
like-it = { value_residual = true }
broken = { qk_norm = true }
""",
    name="made",
    origin="a test",
)
BPB: dict[int, tuple[float, ...]] = {0: (2.0, 2.02, 1.98, 2.0), 1: (1.89, 1.91), 2: (2.3, 2.32), 3: (1.98, 2.0)}
"""By point: the squares are 0.0008, 0.0002, 0.0002 and 0.0002, over 6 degrees of freedom: a deviation of 0.0153."""


def run(point: int, value: float | None, speed: float = 1000.0) -> FrozenTrial:
    measures: dict[str, Any] = {
        "grid": point,
        "tokens_per_second": speed * (1 + point),
        "n_params": 1_000_000 * (1 + point),
    }
    failure = {} if value is not None else {"failure": "diverged"}
    state = TrialState.FAIL if value is None else TrialState.COMPLETE
    return create_trial(state=state, value=value, user_attrs={**measures, **failure})


def trials(bpb: dict[int, tuple[float, ...]] = BPB) -> list[FrozenTrial]:
    return [run(point, value) for point, values in bpb.items() for value in values] + [run(4, None), run(4, None)]


def test_differences_intervals_and_verdicts() -> None:
    comparisons = compared(PLAN, trials())
    better, worse, alike, broken = comparisons.ideas
    assert comparisons.noise.deviation == pytest.approx((0.0014 / 6) ** 0.5)
    assert [c.difference for c in (better, worse, alike)] == pytest.approx([-0.1, 0.31, -0.01])
    assert [c.verdict for c in comparisons.ideas] == [
        *(Verdict.HELPS, Verdict.HURTS, Verdict.CANT_TELL),
        Verdict.NO_RUNS,
    ]
    assert [c.speed for c in (better, worse)] == [2.0, 3.0]
    assert better.parameters == 2_000_000
    theirs = stats.dunnett(*(BPB[i] for i in (1, 2, 3)), control=BPB[0], rng=np.random.default_rng(0))
    ends = theirs.confidence_interval(0.95)
    for own, low, high in zip((better, worse, alike), ends.low, ends.high, strict=True):
        assert own.half_width == pytest.approx((high - low) / 2, rel=0.01)
    assert broken.sentence == "2 diverged"


def test_what_can_not_be_told_names_the_seeds_that_would() -> None:
    """σ / gap = 1.528 and 2 plain runs for each: n ≥ 1.5 · (2.45 + 0.84)² · 2.33 ≈ 38; 2.45 knows σ."""
    (*_, alike, _) = compared(PLAN, trials()).ideas
    assert alike.sentence == f"can't tell; {alike.seeds} seeds would"
    assert alike.seeds == pytest.approx(38, abs=2)
    once = compared(PLAN, [run(0, 2.0), run(1, 1.5)])
    assert once.ideas[0].half_width is None
    assert once.ideas[0].sentence == "can't tell; repeats would"
    same = compared(PLAN, trials(BPB | {3: (1.99, 2.01)})).ideas[2]
    assert same.sentence == "can't tell; over 1,000 seeds would"


def test_nothing_can_be_said_before_the_plain_configuration_has_run() -> None:
    comparisons = compared(PLAN, trials(BPB | {0: ()}))
    assert {c.verdict for c in comparisons.ideas} == {Verdict.NO_RUNS}
    assert summary(comparisons) == ""


def test_the_figure_has_the_differences_with_their_bars_and_the_verdicts() -> None:
    figure = draw_ideas(snapshot(PLAN, trials()))
    drawn = {t.y[0].partition("<br>"): (t.x[0], t.error_x.array[0]) for t in figure.data if t.xaxis == "x"}
    for c in compared(PLAN, trials()).ideas[:3]:
        assert drawn[c.name, "<br>", c.sentence] == (c.difference, c.half_width)
    assert [x for t in figure.data if t.xaxis == "x2" for x in t.x] == [2.0, 3.0, 4.0]
    assert [x for t in figure.data if t.xaxis == "x3" for x in t.x] == [2.0, 3.0, 4.0]
    text = PICTURES["ideas"].describe(snapshot(PLAN, trials()))
    assert text.startswith("Beside the plain configuration's 2.0000 BPB: better better by more than noise; worse worse")
    fitting = [name for name, picture in PICTURES.items() if picture.fits(snapshot(PLAN, trials())) and picture.grids]
    assert fitting == ["ideas"]


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_is_readable_at_any_width(width: int) -> None:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(ideas_table(PLAN, compared(PLAN, trials()), width), highlight=False)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in capture.get()
    for name, shows in {"plain": "2.0000", "better": "-0.1000", "worse": "+0.3100", "broken": "2 diverged"}.items():
        assert any(name in line and shows in line for line in lines), name
    assert any("helps" in line for line in lines)
