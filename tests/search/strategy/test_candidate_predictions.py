"""Predictions of long runs: made once enough has ended, kept to be compared, and right where the truth is smooth."""

from collections.abc import Iterator

import pytest
from optuna.trial import TrialState

from search.analysis.snapshot import read
from search.show.report.page import page
from search.show.status.study_overview import study_overview
from search.strategy.candidate_predictions import PROXIES_APART, _are_current, enough_to_predict
from search.study.plan import Plan
from search.study.predictions import PREDICTIONS, Predictions, stored_predictions
from search.study.study import LinkedStudy, open_study
from storage.server.database import Database, connect
from tests.conftest import fresh_database
from tests.search.raced import Trainer, plan
from tests.search.strategy.test_joint import history, trial

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # of metric names


def test_enough_is_twenty_proxies_and_three_long_runs() -> None:
    proxies, runs = history()
    assert enough_to_predict(proxies[:20], runs[:3])
    assert not enough_to_predict(proxies[:19], runs[:3])
    assert not enough_to_predict(proxies[:20], runs[:2])
    failed = trial(1e-2, 8, None, TrialState.FAIL)
    assert not enough_to_predict(proxies[:20], [*runs[:2], failed])


def test_predictions_are_made_anew_when_a_long_run_or_some_proxies_have_ended() -> None:
    last = Predictions(proxies=40, long_runs=4)
    assert _are_current(last, 40, 4)
    assert _are_current(last, 40 + PROXIES_APART - 1, 4)
    assert not _are_current(last, 40 + PROXIES_APART, 4)
    assert not _are_current(last, 40, 5)


@pytest.fixture(scope="module")
def study(embedded_url: str) -> Iterator[LinkedStudy]:
    """A study of 24 proxies half a bit above their long runs, which are a parabola of the learning rate."""
    made = plan("top = 6\nrandom = 2\nwiden = 0\nseeds = 1", proxy="").toml().replace("trials = 12", "trials = 24")
    opened = connect(fresh_database(embedded_url))
    study = open_study(opened, Plan.parse(made, name="made", origin="a test"))
    Trainer(study, lambda at: 2 + (at - 0.6) ** 2, lambda at: 1.5 + (at - 0.6) ** 2, noise=0.0).run()
    yield study
    opened.close()


def test_a_studys_predictions_come_true_and_are_shown_everywhere(study: LinkedStudy) -> None:
    stored = stored_predictions(study.confirmations.user_attrs)
    assert (stored.proxies, stored.long_runs) == (24, len(study.confirm_trials()))
    snapshot = read(study)
    ended = [p for p in snapshot.predicted.values() if p.bpb is not None]
    others = [p for p in snapshot.predicted.values() if not p.racing]
    assert len(ended) == len(study.confirm_trials()) - 3  # all but the first three, of which nothing could be said
    assert len(others) == 10
    assert sum(p.prediction.holds(p.bpb) for p in ended if p.bpb is not None) >= len(ended) - 1
    assert f"Of {len(ended)} long runs predicted beforehand" in snapshot.predictions_line
    overview = study_overview(snapshot)
    assert [p.label for p in overview.predictions] == list(snapshot.predicted)
    assert [p.bpb for p in overview.predictions] == sorted(p.bpb for p in overview.predictions)
    html = page(snapshot)
    assert "predicted ± 90%" in html
    assert ended[0].text in html


def test_what_no_candidate_is_called_is_not_shown(study: LinkedStudy) -> None:
    table = stored_predictions(study.confirmations.user_attrs).table()
    table["by_candidate"]["<script>"] = [1.0, 0.1, 3]
    study.confirmations.set_user_attr(PREDICTIONS, table)
    snapshot = read(study)
    assert "<script>" not in snapshot.predicted
    assert "<script>" not in snapshot.predictions_line


def test_too_little_is_said_with_what_is_missing(database: Database) -> None:
    study = open_study(database, plan("top = 2\nrandom = 0\nwiden = 0"))
    trainer = Trainer(study, lambda at: 2 - at, lambda at: 1.5 - at)
    for _ in range(5):
        trainer.step()
    line = read(study).predictions_line
    assert "20 proxies and 3 long runs" in line
    assert "there are 5 and 0" in line
