"""Every figure of a searched study, from nothing to a thousand trials; its colours."""

import json

import pytest
from optuna.trial import TrialState

from search.analysis.snapshot import Snapshot
from search.show.figures.gallery import PICTURES
from search.show.figures.style import INK, LINK, MUTED, PANEL, PAPER
from search.study.trials import finished
from tests.search.show.studied import SEARCHED, entry, made, params, plan, searched, snapshot_of

PLAN = plan()


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    return snapshot_of(PLAN, *searched(PLAN, 24), workers=[entry(minutes=1000)])


@pytest.mark.parametrize("name", SEARCHED)
def test_every_figure_of_a_searched_study_is_drawn_with_named_axes(snapshot: Snapshot, name: str) -> None:
    figure = PICTURES[name].draw(snapshot)
    assert figure is not None
    axes = list(figure.select_xaxes()) + list(figure.select_yaxes())
    assert any(a.title.text for a in axes)
    assert PICTURES[name].describe(snapshot)
    assert sum(len(trace.x) for trace in figure.data if trace.x is not None) > 2


@pytest.mark.parametrize("name", PICTURES)
def test_too_little_is_no_figure_and_no_error(name: str) -> None:
    assert PICTURES[name].draw(snapshot_of(PLAN)) is None
    PICTURES[name].describe(snapshot_of(PLAN))
    running = made(PLAN, 0, None, params(0), state=TrialState.RUNNING)
    for trials in ([running], [made(PLAN, 0, 1.5, params(0))], [made(PLAN, 0, None, params(0), state=TrialState.FAIL)]):
        PICTURES[name].draw(snapshot_of(PLAN, trials))
        PICTURES[name].describe(snapshot_of(PLAN, trials))


def test_the_leaderboards_bars_are_the_intervals(snapshot: Snapshot) -> None:
    figure = PICTURES["leaderboard"].draw(snapshot)
    drawn_values = {
        y: (x, half)
        for t in figure.data
        if t.error_x.array
        for x, y, half in zip(t.x, t.y, t.error_x.array, strict=True)
    }
    for c in snapshot.confirmed:
        assert drawn_values[c.label] == (snapshot.estimates[c.key].bpb, snapshot.estimates[c.key].half_width)


def test_a_thousand_trials_stay_small() -> None:
    many = plan(trials=1000)
    snapshot = snapshot_of(many, *searched(many, 1000), workers=[entry(minutes=6300)])
    sizes = {name: len(PICTURES[name].draw(snapshot).to_json()) for name in SEARCHED if name != "importance"}
    assert sum(sizes.values()) < 1_200_000, sizes
    lines = [t for t in PICTURES["curves"].draw(snapshot).data if t.name == "finished proxies"]
    assert sum(v is None for v in lines[0].x) == 80


def test_importance_and_chance_are_on_one_scale_that_is_no_share() -> None:
    proxies, runs = searched(PLAN, 20)
    done = finished(proxies)
    for i, t in enumerate(done):
        t.value = 1 + i * 7 % len(done) / 100  # which no setting explains
    few = snapshot_of(PLAN, proxies, runs)
    importance, figure = few.importance, PICTURES["importance"].draw(few)
    assert importance is not None
    assert sum(importance.shares.values()) == pytest.approx(1)
    assert "%" not in figure.layout.xaxis.title.text
    drawn_values = {name: x for t in figure.data if t.type == "bar" for name, x in zip(t.y, t.x, strict=True)}
    assert drawn_values == importance.divergences
    chance = {name: x for t in figure.data if t.type == "scatter" for name, x in zip(t.y, t.x, strict=True)}
    assert chance == importance.by_chance
    assert max(chance.values()) > sum(drawn_values.values())  # as a share of these it would be more than 100%


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("ground", ["light", "dark"])
def test_text_has_contrast(ground: str) -> None:
    """WCAG 2.1's ratio (L1 + 0.05) / (L2 + 0.05), at least 4.5 for text."""
    for text in (INK, MUTED, LINK):
        for paper in (PAPER, PANEL):
            bright, dim = sorted((luminance(text[ground]), luminance(paper[ground])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5


def test_figures_are_json(snapshot: Snapshot) -> None:
    for name in SEARCHED:
        json.loads(PICTURES[name].draw(snapshot).to_json())
