import math
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console
from scipy import stats

from model.errors import SettingsError
from search.analysis.grid import Mean, Point, ordered, points, points_of
from search.show.status.sweep_table import table_of
from search.study.plan import Plan
from search.study.space import Space

GRID: list[dict[str, Any]] = [{"n_layer": 1}, {"n_layer": 2}, {"n_layer": 3}]


def run(
    grid: int, value: float, tokens: int = 1000, state: TrialState = TrialState.COMPLETE, **more: Any
) -> FrozenTrial:
    attrs = {"grid": grid, "tokens": tokens, "tokens_per_param": 5.0, "tokens_per_second": 10, **more}
    given = value if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=given, user_attrs=attrs)


def test_means_and_intervals_worked_by_hand() -> None:
    """Two repeats each: deviations of 0.1 and 0.3 from their means pool to √((2·0.01 + 2·0.09)/2) = √0.1."""
    failed = run(1, 9.9, state=TrialState.FAIL, failure="diverged")
    first, second, third = points(GRID, [run(0, 1.9), run(0, 2.1, 3000), run(2, 2.7), run(2, 3.3), failed])
    assert [p.params for p in (first, second, third)] == GRID
    assert (first.bpb, third.bpb) == pytest.approx((2.0, 3.0))
    assert first.means["tokens"].value == 2000
    expected = stats.t.ppf(0.975, 2) * math.sqrt(0.1) / math.sqrt(2)
    assert [p.means["val_bpb"].half_width for p in (first, third)] == pytest.approx([expected, expected])
    assert (second.runs, second.others, first.others) == (0, "1 diverged", "")
    assert math.isnan(second.bpb)


def test_a_faster_points_noise_in_speed_is_larger_in_proportion() -> None:
    """10 and 20, 100 and 200: in units of their means 2/3 and 4/3 both, deviations of 1/3 that pool to √(2/9)."""
    trials = [run(g, 2.0, tokens_per_second=r) for g, r in ((0, 10), (0, 20), (1, 100), (1, 200))]
    first, second, _ = points(GRID, trials)
    share = stats.t.ppf(0.975, 2) * math.sqrt(2 / 9) / math.sqrt(2)
    assert [p.means["tokens_per_second"].value for p in (first, second)] == [15, 150]
    halves = [p.means["tokens_per_second"].half_width for p in (first, second)]
    assert halves == pytest.approx([15 * share, 150 * share])


def test_what_runs_did_not_record_is_left_out() -> None:
    first, second, _ = points(GRID, [run(0, 2.0, train_bpb=1.5), run(1, 2.0, train_bpb=None)])
    assert first.means["train_bpb"] == Mean(value=1.5)
    assert "train_bpb" not in second.means


def test_without_repeats_there_is_no_interval() -> None:
    (_, only, _) = points(GRID, [run(1, 2.5)])
    assert (only.runs, only.means["val_bpb"]) == (1, Mean(value=2.5))


def test_what_has_not_finished_is_named_and_a_retried_run_counts_once() -> None:
    lost = run(0, 0, state=TrialState.FAIL, failure="lost")
    lost.number = 7
    trials = [lost, run(0, 0, state=TrialState.RUNNING, retries=7), run(0, 2.0), run(0, 0, state=TrialState.WAITING)]
    assert points(GRID, trials)[0].others == "1 running, 1 waiting"
    assert points(GRID, trials)[0].runs == 1


SPACE = {
    "attention": {"choices": ["latent", "full"]},
    "projection_dim": {"choices": [64, 256, 16], "when": {"attention": "latent"}},
}


def test_numbers_go_by_size_and_words_as_the_file_lists_them() -> None:
    space = Space.parse(SPACE)
    grid = space.grid({})
    assert [p.get("projection_dim") for p in grid] == [64, 256, 16, None]
    assert [p.params for p in ordered([Point(params=p, runs=0) for p in reversed(grid)], space)] == [
        {"attention": "latent", "projection_dim": 16},
        {"attention": "latent", "projection_dim": 64},
        {"attention": "latent", "projection_dim": 256},
        {"attention": "full"},
    ]


@pytest.mark.parametrize("width", [80, 160])
def test_the_table_is_readable_at_any_width(width: int) -> None:
    schedules = (
        'max_lr = { choices = [1e-3, 1e-2] }\nschedule = { choices = ["one_cycle_torch", "warmup_stable_decay"] }'
    )
    head = '[data]\nsource = "builtin"\n[proxy]\nsampler = "grid"\nbudget = "1m"\n[space]\n'
    plan = Plan.parse(head + schedules, name="made", origin="a test")
    trials = [run(i, 3.1 + i / 10, tokens_per_second=12_345) for i in (0, 0, 1, 2)]
    trials.append(run(3, 0, state=TrialState.FAIL, failure="diverged"))
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table_of(plan, points_of(plan, trials), width), highlight=False)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in capture.get()
    rows = [line for line in lines if "one_cycle" in line or "warmup" in line]
    for text, row in zip(("3.1000 ± 0.0000", "3.2000", "3.3000", "diverged"), rows, strict=True):
        assert text in row
    assert ("▇" in capture.get()) == (width == 160)


def test_a_grid_too_large_to_run_is_refused_before_it_is_built() -> None:
    names = ("n_layer", "n_head", "batch_size", "n_kv_head", "window", "context")
    space = Space.parse({n: {"low": 8, "high": 71} for n in names})
    with pytest.raises(SettingsError, match="4096 combinations up to `n_head`, but a grid must have <= 1000"):
        space.grid({})
