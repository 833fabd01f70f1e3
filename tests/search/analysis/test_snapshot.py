"""A study is read once for all that is shown of it, and derived values are computed once: by counting calls."""

import io
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import pytest
from rich.console import Console

from search.analysis.snapshot import read
from search.export.export import best_export, render, top_export
from search.export.runs import confirmation_export
from search.machine.admission import hardware_line
from search.show.dashboard.sync import save_figures, sync_notes
from search.show.leaderboard.from_studies import linked_study_entrants
from search.show.leaderboard.links import LinkTemplate
from search.show.report.page import page
from search.show.status.race_table import race
from search.show.status.study_overview import study_overview
from search.show.status.summary import summary
from search.strategy import current_race
from search.strategy.pruner import CorrelationPruner
from search.strategy.study_pruner import make_pruner
from search.study import cost, results
from search.study.study import LinkedStudy, load_study
from storage.registry.workers import Registry
from storage.server.database import Database, connect
from tests.search.copies import database_holding
from tests.search.show.studied import plan, stored

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do

ONCE: tuple[Callable[..., Any], ...] = (
    *(LinkedStudy.proxy_trials, LinkedStudy.confirm_trials, Registry.workers),
    *(results.confirmed_among, results.noise, results.transfer),
    *(current_race._entrants, current_race._rung_state, make_pruner, hardware_line, cost.bill, cost.affordable_runs),
)
"""Functions that read or evaluate a whole study."""


@contextmanager
def counted(*functions: Callable[..., Any]) -> Iterator[Counter[str]]:
    """Count the calls of these functions in the block, under whatever names."""
    names: dict[CodeType, str] = {f.__code__: f.__name__ for f in functions}
    calls_by_name: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code in names:
            calls_by_name[names[frame.f_code]] += 1

    sys.setprofile(note)
    try:
        yield calls_by_name
    finally:
        sys.setprofile(None)


def printed(part: Any) -> None:
    Console(file=io.StringIO(), width=120).print(part)


def log_back_with_figures(study: LinkedStudy) -> None:
    save_figures(study, sync_notes(study))


def export_with_its_runs(study: LinkedStudy) -> None:
    """As `export --bundle … --out …` does: of one moment."""
    snapshot = read(study)
    render(best_export(snapshot), "toml")
    render(top_export(snapshot, 3), "json")
    confirmation_export(snapshot, 1)


SHOWN: dict[str, Callable[[LinkedStudy], object]] = {
    "export": lambda study: render(best_export(read(study)), "toml"),
    "export of several": export_with_its_runs,
    "status": lambda study: printed(summary(read(study))),
    "status --json": lambda study: study_overview(read(study)).table(),
    "race": lambda study: printed(race(read(study))),
    "leaderboard": lambda study: linked_study_entrants(study, LinkTemplate(""), prompts=False),
    "report": lambda study: page(read(study)),
    "log back": log_back_with_figures,
}


def filled(database: Database) -> LinkedStudy:
    return stored(database, plan(trials=18))


@contextmanager
def copied(server_url: str) -> Iterator[LinkedStudy]:
    opened = connect(database_holding(filled, server_url))
    yield load_study(opened, "made")
    opened.close()


@pytest.fixture(scope="module")
def study(embedded_url: str) -> Iterator[LinkedStudy]:
    with copied(embedded_url) as opened:
        yield opened


@pytest.fixture
def own_study(embedded_url: str) -> Iterator[LinkedStudy]:
    """A copy for a test that changes it."""
    with copied(embedded_url) as opened:
        yield opened


@pytest.mark.parametrize("name", SHOWN)
def test_a_study_is_read_and_weighed_once(study: LinkedStudy, name: str) -> None:
    with counted(*ONCE, CorrelationPruner.relation) as calls:
        SHOWN[name](study)
    assert calls.pop("relation", 0) in (0, len(study.plan.report_points()) - 1)
    assert calls["proxy_trials"] == calls["confirm_trials"] == calls["confirmed_among"] == 1
    assert set(calls.values()) == {1}, calls


def test_what_is_shown_stays_of_the_moment_that_was_read(own_study: LinkedStudy) -> None:
    study, snapshot = own_study, read(own_study)
    study.confirmations.set_user_attr("race", "over since")
    study.confirmations.add_trial(snapshot.runs[-1])
    assert snapshot.race_line == ""
    assert sum(c.seeds for c in snapshot.confirmed) == sum(
        c.seeds for c in read(study).confirmed
    )  # the same seed again
    assert len(read(study).runs) == len(snapshot.runs) + 1
