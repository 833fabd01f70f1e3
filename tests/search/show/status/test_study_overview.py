"""A study at a glance: by hand, against its schema, and as it fits a terminal."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import jsonschema
import optuna
import pytest
from optuna.trial import TrialState
from rich.cells import cell_len
from typer.testing import CliRunner

from search.analysis.snapshot import read
from search.cli.main import app
from search.show.status.json_schema import schema
from search.show.status.overview import Overview
from search.show.status.panels import Lines
from search.show.status.screen import advanced, screen
from search.show.status.study_overview import study_overview, worked_seconds
from search.strategy.pruner import Relation
from search.study.study import LinkedStudy, open_study
from storage.server.database import Database, connect
from tests.conftest import database_with_tables
from tests.places import ROOT
from tests.search import raced
from tests.search.show.given import plan, run, snapshot, worker

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do
SCHEMA = ROOT / "docs" / "status.schema.json"
BASELINE = "[baselines.by-hand]\nmax_lr = 1e-2\n"


@pytest.fixture(scope="module")
def half_raced(embedded_url: str) -> Iterator[LinkedStudy]:
    """A study in the midst of its race, with a worker at a long run; tests only read it."""
    database = connect(database_with_tables(embedded_url))
    study = open_study(database, raced.plan("top = 3\nseeds = 3", baseline=0.1))
    trainer = raced.Trainer(study, lambda at: 1.3 + 0.2 * at, lambda at: 1.5 - 0.2 * at)
    for _ in range(21):
        trainer.step()
    assert trainer.claim()
    yield study
    database.close()


def lines_of(lines: Lines) -> str:
    return "\n".join(line.plain for line in lines)


def test_the_schema_in_the_docs_is_that_of_the_records() -> None:
    """Made by: python -m docs.generate."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema(Overview)


def spoilt(table: dict[str, Any]) -> list[dict[str, Any]]:
    """Outputs that a reader couldn't rely on."""
    without = {k: v for k, v in table.items() if k != "state"}
    return [without, {**table, "more": 1}, {**table, "eta_seconds": "soon"}, {**table, "workers": [{"name": "a"}]}]


def test_what_status_prints_for_machines_keeps_to_its_schema(half_raced: LinkedStudy) -> None:
    database_url = half_raced.database.engine.url.render_as_string(hide_password=False)
    checker = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    done = CliRunner().invoke(app, ["status", "--study", "made", "--json", "--storage", database_url])
    assert done.exit_code == 0, done.output
    table = json.loads(done.stdout)
    checker.validate(table)
    assert [list(checker.iter_errors(broken)) != [] for broken in spoilt(table)] == [True] * 4
    assert table["proxies"]["complete"] == 12
    assert table["confirmations"]["running"] == 1
    best = min(c.mean_bpb for c in read(half_raced).confirmed)
    assert table["best_confirmed"]["mean_bpb"] == pytest.approx(best)


def test_an_empty_study_keeps_to_it_too(database: Database) -> None:
    table = study_overview(
        read(open_study(database, plan(more=BASELINE))), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ).table()
    jsonschema.validate(table, schema(Overview))
    assert table["at"] == "2026-01-02T03:04:05+00:00"
    assert (table["state"], table["best_proxy"], table["proxies"]["to_come"]) == ("waiting", None, 4)
    (warned,) = table["warnings"]
    assert warned["kind"] == "waiting"
    assert "no worker has started yet" in warned["sentence"]
    assert "`lilm-search start --study given` begins" in warned["sentence"]


def test_all_that_is_shown_is_of_one_moment(half_raced: LinkedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts ask for them, trials are read once: what a worker reports meanwhile comes the next time."""
    asked: list[str] = []
    get_trials = optuna.Study.get_trials

    def counted(self: optuna.Study, *args: Any, **kwargs: Any) -> Any:
        asked.append(self.study_name)
        return get_trials(self, *args, **kwargs)

    monkeypatch.setattr(optuna.Study, "get_trials", counted)
    read(half_raced)
    assert asked == ["made", "made-confirm"]


def test_times_at_work_are_counted_once() -> None:
    """From 0 to 100 and 50 to 150 somebody was there for 150 s; from 300 to 310 again."""
    times = ((0, 100), (50, 100), (60, 10), (300, 10))
    assert worked_seconds([worker(str(i), started=s, paid=p) for i, (s, p) in enumerate(times)]) == 160


def test_states_are_counted_and_a_lost_trial_once() -> None:
    proxies = [
        run(0, TrialState.COMPLETE, 1.5, 100),
        run(1, TrialState.FAIL, None, 0, failure="lost"),
        run(2, TrialState.PRUNED, 1.9, 20, retries=1),
        run(3, TrialState.FAIL, None, 0, failure="diverged"),
        run(4, TrialState.RUNNING, None, 60, worker="a"),
    ]
    o = study_overview(
        snapshot(plan(trials=6), proxies, (), [worker("a"), worker("b", state="dead"), worker("c", state="ended")])
    )
    c = o.proxies
    assert (c.asked, c.complete, c.pruned, c.failed, c.lost, c.running, c.to_come) == (6, 1, 1, 1, 1, 1, 2)
    assert o.pruning_saved_seconds == pytest.approx(0.8 * 360)
    assert [(w.name, w.state, w.run, w.percent) for w in o.workers] == [
        ("a", "alive", "trial 4", 60),
        ("b", "dead", "", 0),
    ]
    assert [w.kind for w in o.warnings] == ["stopped"]
    assert o.state == "running"


def test_the_gate_is_open_from_where_it_stays_open() -> None:
    proofs = (0.96, 0.5, 0.97, 0.99)
    relations = [Relation(20 * (i + 1), 8, 0.5, 0.1, proof) for i, proof in enumerate(proofs)]
    c = study_overview(snapshot(plan(), relations=relations)).correlation
    assert [s.open for s in c.steps] == [True, False, True, True]
    assert c.open_from == 60
    few = [Relation(20, 3, 0.9, 0.5, 0.99)]
    assert study_overview(snapshot(plan(), relations=few)).correlation.open_from is None


def test_a_screen_fits_and_says_what_matters(half_raced: LinkedStudy) -> None:
    """At any size no line is wider, no digit is cut, and the study's figures are there from 24 lines on.

    Long runs want high rates, proxies low ones: the baseline, at the high end, leads, and the best searched is beside.
    """
    given = read(half_raced)
    o = study_overview(replace(given, workers=[worker(f"machine-{i}/12345-abcdef", started=1e9) for i in range(40)]))
    assert o.best_confirmed is not None
    assert o.searched_confirmed is not None
    assert o.baseline_confirmed == o.best_confirmed
    figures = [f"{best.bpb:.4f} ± {best.half_width:.4f}" for best in (o.best_confirmed, o.searched_confirmed)]
    for width, height in product((60, 80, 100, 139, 140, 160, 220), (12, 24, 40)):
        lines = screen(o, width, height, ["trial 3   1.5 BPB"])
        assert len(lines) <= height
        assert [line.plain for line in lines if cell_len(line.plain) > width] == []
        assert "made" in lines[0].plain
        texts = lines_of(lines)
        needed = ["12 of 12"] + ([*figures, "ρ by progress", "pruning gate", "worker hours"] if height >= 24 else [])
        assert [word for word in needed if word not in texts] == [], (width, height)
        together = any("worker" in line.plain and "best so far" in line.plain for line in lines)
        assert together == (width >= 140 and height >= 24)


def test_clocks_go_on_between_two_looks() -> None:
    running = study_overview(snapshot(plan(), [run(0, TrialState.RUNNING, None, 20, worker="a")], (), [worker("a")]))
    later = advanced(running, 60)
    assert later.elapsed_seconds == running.elapsed_seconds + 60
    assert running.eta_seconds is not None
    assert later.eta_seconds == running.eta_seconds - 60
    assert advanced(running, 1e9).eta_seconds == 0
    finished = study_overview(snapshot(plan(), race_over=True))
    assert advanced(finished, 60) == finished
