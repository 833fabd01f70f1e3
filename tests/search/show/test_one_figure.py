"""The figure stated of a confirmed configuration is the same wherever it is shown."""

import pytest

from search.show.dashboard.study_note import study_note
from search.show.dashboard.trial_notes import bpb_with_interval
from search.show.figures.confirmed import draw_leaderboard
from search.show.report.answers import winner
from search.show.report.tables import confirmed_table
from search.show.status import summary
from search.show.status.study_overview import study_overview
from search.study.estimate import estimates
from tests.search.show.studied import plan, searched, snapshot_of


def test_every_place_states_the_same_estimate_with_the_mean_beside_it() -> None:
    snapshot = snapshot_of(plan(), *searched(plan(), 24))
    stated = estimates([list(c.bpb_by_seed.values()) for c in snapshot.confirmed])
    best, first = snapshot.confirmed[0], stated[0]
    assert first.bpb != best.mean_bpb
    text, mean = f"{first.bpb:.4f} ± {first.half_width:.4f}", f"{best.mean_bpb:.4f}"
    for shown in (study_note(snapshot), bpb_with_interval(snapshot, best), winner(snapshot)[0]):
        assert text in shown
        assert mean in shown
    report = confirmed_table(snapshot)
    assert report is not None
    assert list(report.rows[0][2:4]) == [text, mean]
    assert list(summary.confirmed_table(snapshot).rows[0][2:6:3]) == [text, mean]
    overview = study_overview(snapshot).best_confirmed
    assert overview is not None
    assert (overview.bpb, overview.half_width, overview.mean_bpb) == (first.bpb, first.half_width, best.mean_bpb)
    drawn = {
        name: x for trace in draw_leaderboard(snapshot).data[:-1] for name, x in zip(trace.y, trace.x, strict=True)
    }
    assert [drawn[c.label] for c in snapshot.confirmed] == pytest.approx([e.bpb for e in stated])
