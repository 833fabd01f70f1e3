import math
from typing import Any

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from scipy import stats

from model.errors import SettingsError
from search.space import Space
from search.sweep import Point, figure, ordered, points

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
    assert first.tokens == 2000
    expected = stats.t.ppf(0.975, 2) * math.sqrt(0.1) / math.sqrt(2)
    assert (first.half_width, third.half_width) == pytest.approx((expected, expected))
    assert (second.runs, second.others, first.others) == (0, "1 diverged", "")
    assert math.isnan(second.bpb)


def test_without_repeats_there_is_no_interval() -> None:
    (_, only, _) = points(GRID, [run(1, 2.5)])
    assert (only.runs, only.half_width) == (1, None)


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


def found(params: dict[str, Any], bpb: float, half_width: float | None = None) -> Point:
    return Point(params=params, runs=1, others="", bpb=bpb, half_width=half_width)


def test_numbers_go_by_size_and_words_as_the_file_lists_them() -> None:
    space = Space.parse(SPACE)
    grid = space.grid({})
    assert [p.get("projection_dim") for p in grid] == [64, 256, 16, None]
    assert [p.params for p in ordered([found(p, 1.0) for p in reversed(grid)], space)] == [
        {"attention": "latent", "projection_dim": 16},
        {"attention": "latent", "projection_dim": 64},
        {"attention": "latent", "projection_dim": 256},
        {"attention": "full"},
    ]


def test_the_figure_has_a_line_for_each_value_of_the_second_setting() -> None:
    grid = [found({"kind": k, "vocab_size": v}, v / 1e4, 0.01) for k in ("unigram", "bpe") for v in (1024, 4096, 20480)]
    drawn = figure(grid, ["kind", "vocab_size"], "a sweep")
    assert [line.name for line in drawn.data] == ["kind unigram", "kind bpe"]
    for line in drawn.data:
        assert list(line.x) == [1024, 4096, 20480]
        assert list(line.y) == [0.1024, 0.4096, 2.048]
        assert list(line.error_y.array) == [0.01] * 3
    assert drawn.layout.xaxis.type == "log"
    assert drawn.layout.xaxis.title.text == "vocab_size"
    narrow = figure(grid[:2], ["kind", "vocab_size"], "a sweep")  # within a factor of ten
    assert narrow.layout.xaxis.type is None


def test_what_a_condition_excludes_is_a_level_of_its_own() -> None:
    grid = [found({"attention": "latent", "projection_dim": p}, 1.0 + p / 100) for p in (16, 64, 256)]
    drawn = figure([*grid, found({"attention": "full"}, 1.5)], ["attention", "projection_dim"], "a sweep")
    (line,) = drawn.data
    assert list(line.x) == [16, 64, 256]
    assert [(shape.y0, shape.y1) for shape in drawn.layout.shapes] == [(1.5, 1.5)]


def test_a_grid_too_large_to_run_is_refused_before_it_is_built() -> None:
    names = ("n_layer", "n_head", "batch_size", "n_kv_head", "window", "context")
    space = Space.parse({n: {"low": 8, "high": 71} for n in names})
    with pytest.raises(SettingsError, match="4096 combinations up to `n_head`, but a grid must have <= 1000"):
        space.grid({})
