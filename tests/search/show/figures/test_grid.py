"""Figures of grids, whose numbers are worked by hand."""

import math
from typing import Any

import pytest
from scipy import stats

from search.show.figures.gallery import PICTURES
from search.show.figures.grid import draw_sweep
from search.show.figures.grid_panels import ANY, LATENT, SCHEDULES, describe_sweep
from tests.search.show.given import snapshot
from tests.search.show.grids import made_up, plan_of, ran, shipped

SWEEPS = {
    "schedules": "sweep-lr",
    "vocabulary": "sweep-vocab",
    "depth-sweep": "sweep-depth",
    "batch": "sweep-batch",
    "latent-sweep": "sweep-latent",
}
"""Each picture with the shipped study that is made for it."""
LATENTS = plan_of(
    'attention = { choices = ["full", "latent"] }\n'
    'projection_dim = { choices = [16, 32], when = { attention = "latent" } }',
    repeats=2,
)
FULL, LOW, HIGH = ({"attention": "full"}, *({"attention": "latent", "projection_dim": p} for p in (16, 32)))


def latents() -> list[Any]:
    """Repeats that deviate by 0.1, 0.1 and 0.2 from their means: together √((2·0.01 + 2·0.01 + 2·0.04)/3) = 0.2."""
    values: dict[tuple[float, float], dict[str, Any]] = {(1.9, 2.1): FULL, (2.4, 2.6): LOW, (1.6, 2.0): HIGH}
    sizes = {"n_params": 3e6, "tokens": 5e6, "tokens_per_second": 1000}
    return [ran(LATENTS, params, bpb, **sizes) for pair, params in values.items() for bpb in pair]


def traces(figure: Any, axis: str) -> dict[str, Any]:
    """The traces on one panel by name; a band has none."""
    return {t.name or "band": t for t in figure.data if (t.yaxis or "y") == axis}


def test_means_their_bars_and_the_line_of_full_attention() -> None:
    figure = draw_sweep(LATENT, snapshot(LATENTS, latents()))
    half = stats.t.ppf(0.975, 3) * 0.2 / math.sqrt(2)
    panel = traces(figure, "y4")
    line = panel["attention latent"]
    assert list(line.x) == [16, 32]
    assert list(line.y) == pytest.approx([2.5, 1.8])
    assert list(line.error_y.array) == pytest.approx([half, half])
    assert list(panel["attention full"].y) == pytest.approx([2.0, 2.0])
    assert list(panel["attention full"].x) == [16, 32]
    assert list(panel["band"].y) == pytest.approx([2 - half, 2 - half, 2 + half, 2 + half])
    ring = panel["lowest validation BPB"]
    assert (list(ring.x), list(ring.y)) == ([32], [pytest.approx(1.8)])
    assert list(traces(figure, "y")["attention latent"].y) == [3, 3]  # millions
    assert [axis.title.text for axis in figure.select_yaxes()] == [
        "parameters, millions",
        "tokens/s",
        "tokens, millions",
        "validation BPB",
    ]
    assert figure.layout.xaxis4.title.text == "width of the latent projection"


def test_what_is_said_of_it() -> None:
    """2.0 and 1.8, each ± t(3)·0.2/√2 = 0.45: their difference of 0.2 is less than √2 · 0.45."""
    text = describe_sweep(LATENT, snapshot(LATENTS, latents()))
    assert "Lowest of each line: attention latent, 1.8000 ± 0.4501 BPB at projection_dim 32." in text
    assert "Beside it attention full, 2.0000 ± 0.4501 BPB: the lowest is 0.2000 below it, within noise." in text
    sure = [ran(LATENTS, p, b) for p, b in ((FULL, 2.0), (FULL, 2.001), (LOW, 1.8), (LOW, 1.801))]
    text = describe_sweep(LATENT, snapshot(LATENTS, sure))
    assert "0.2000 below it, more than noise." in text
    assert "1 of 3 points have no finished run." in text
    assert "These runs didn't record: parameters, millions, tokens/s, tokens, millions." in text


RATES = plan_of('max_lr = { choices = [0.1, 0.001, 0.01] }\nschedule = { choices = ["linear", "cosine"] }')


def rates(**diverging: float) -> list[Any]:
    values = {0.001: 1.5, 0.01: 1.4, 0.1: 1.45}
    return [
        ran(RATES, {"max_lr": r, "schedule": s}, v + (s == "cosine") / 50 + (r == 0.1) * diverging.get("by", 0.0))
        for r, v in values.items()
        for s in ("linear", "cosine")
    ]


def test_rates_stand_in_order_on_a_logarithmic_axis_a_line_for_each_schedule() -> None:
    figure = draw_sweep(SCHEDULES, snapshot(RATES, rates()))
    lines = traces(figure, "y")
    assert list(lines) == ["schedule linear", "schedule cosine", "lowest validation BPB"]
    for name, above in (("schedule linear", 0.0), ("schedule cosine", 0.02)):
        assert list(lines[name].x) == [0.001, 0.01, 0.1]
        assert list(lines[name].y) == pytest.approx([1.5 + above, 1.4 + above, 1.45 + above])
        assert lines[name].error_y.array is None  # nothing was repeated
    assert figure.layout.xaxis.type == "log"
    looks = {(t.line.color, t.line.dash, t.marker.symbol) for name, t in lines.items() if "schedule" in name}
    assert all(len(set(look)) == 2 for look in zip(*looks, strict=True))  # told apart by each of the three
    assert not list(figure.select_yaxes())[1:]  # no training BPB was recorded: no panel for it


def test_validation_and_training_share_a_scale_which_a_diverged_run_does_not_stretch() -> None:
    trials = rates(by=9.0)
    for t in trials:
        t.user_attrs["train_bpb"] = (t.value or 0) - 0.1
    figure = draw_sweep(SCHEDULES, snapshot(RATES, trials))
    first, second = (axis.range for axis in figure.select_yaxes())
    assert first == second
    assert first[0] < 1.3
    assert 1.52 < first[1] < 3


def test_what_failed_leaves_a_gap_and_a_cross() -> None:
    trials = [t for t in rates() if t.params != {"max_lr": 0.01, "schedule": "linear"}]
    trials.append(ran(RATES, {"max_lr": 0.01, "schedule": "linear"}, None))
    figure = draw_sweep(SCHEDULES, snapshot(RATES, trials))
    lines = traces(figure, "y")
    assert list(lines["schedule linear"].y) == [1.5, None, 1.45]
    cross = lines["failed"]
    assert (list(cross.x), list(cross.y)) == ([0.01], [figure.layout.yaxis.range[1]])
    assert list(cross.text) == ["schedule linear: 1 diverged"]
    assert "1 of 6 points have no finished run." in describe_sweep(SCHEDULES, snapshot(RATES, trials))


def test_a_grid_of_words_has_them_as_they_are_listed() -> None:
    plan = plan_of('schedule = { choices = ["linear", "cosine", "one_cycle"] }')
    trials = [ran(plan, {"schedule": s}, b) for s, b in (("cosine", 2.0), ("linear", 1.5))]
    figure = draw_sweep(ANY, snapshot(plan, trials))
    assert list(figure.data[0].x) == ["linear", "cosine"]
    assert (figure.layout.xaxis.type, figure.layout.xaxis.title.text) == ("category", "schedule")


def test_nothing_is_drawn_of_less_than_two_values() -> None:
    assert draw_sweep(LATENT, snapshot(LATENTS, latents()[:4])) is None  # full attention, and one width
    assert draw_sweep(SCHEDULES, snapshot(LATENTS, latents())) is None
    assert draw_sweep(ANY, snapshot(LATENTS, [])) is None
    assert describe_sweep(ANY, snapshot(LATENTS, [])) == ""


@pytest.mark.parametrize(("name", "study"), SWEEPS.items())
def test_a_shipped_sweep_makes_all_that_its_picture_needs(name: str, study: str) -> None:
    plan = shipped(study)
    given = snapshot(plan, made_up(plan))
    assert "didn't record" not in PICTURES[name].describe(given)
    figure = PICTURES[name].draw(given)
    swept = next(
        n for n in ("projection_dim", "n_layer", "vocab_size", "batch_size", "max_lr") if n in plan.space.parameters
    )
    values = {v for t in figure.data if t.mode == "lines+markers" for v in t.x}
    assert values == set(plan.space.parameters[swept].values() or ())
    assert all(axis.title.text for axis in figure.select_yaxes())
