"""The caveats where people see them: status, the export, the note in optuna-dashboard."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna_dashboard import get_note
from rich.console import Console

from search.analysis.caveats import caveats
from search.analysis.snapshot import read
from search.export.export import FORMATS, best_export, render
from search.export.reader import read_export
from search.show.dashboard.sync import sync_notes
from search.show.status.summary import summary
from search.study.results import confirmed
from search.study.study import LinkedStudy, open_study
from storage.server.database import Database, connect
from tests.conftest import database_with_tables
from tests.search.made import PLAN, proxy

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do


@pytest.fixture(scope="module")
def warned(embedded_url: str) -> Iterator[LinkedStudy]:
    """A study whose best proxies crowd at the lowest rates, half of whose proxies diverged, on two kinds of GPU."""
    database = connect(database_with_tables(embedded_url))
    study = open_study(database, PLAN)
    gpus = [{"device": f"NVIDIA RTX {n}", "torch": "2.11.0", "precision": "bfloat16"} for n in ("3090", "4090")]
    for i in range(20):
        low = i in (3, 8, 11, 14, 17)
        rate = (1e-4 if low else 2e-3) * (1 + i / 100)
        trial = proxy(i, 1.4 + i / 500 - low / 5, {"max_lr": rate}, provenance=gpus[i % 2])
        trial.user_attrs["worker"] = f"rented-{i % 2}/7"
        study.proxies.add_trial(trial)
    for i in range(20, 40):
        study.proxies.add_trial(proxy(i, None, {"max_lr": 2e-2}, failure="diverged"))
    for i, seed in ((3, 100), (3, 101), (8, 100), (8, 101)):
        trial = study.proxy_trials()[i]
        study.confirmations.add_trial(proxy(i, 1.3 + (seed - 100) / 100 + i / 200, trial.params, confirms=i, seed=seed))
    yield study
    database.close()


def test_status_shows_them_in_80_columns(warned: LinkedStudy) -> None:
    screen = Console(width=80, record=True, file=io.StringIO())
    screen.print(summary(read(warned)))
    text = screen.export_text()
    below = text[text.index("Caveats:") :]
    assert all(len(line) <= 80 for line in below.splitlines())
    for part in (
        "max_lr: 5 of the 5 best proxies lie",
        "trial 3 is not proven best",
        "devices differ",
        "20 of 40 proxies",
    ):
        assert part in " ".join(below.split())


def test_the_export_and_the_dashboards_note_hold_the_same_sentences(warned: LinkedStudy, tmp_path: Path) -> None:
    table = best_export(read(warned))
    sentences = caveats(PLAN, warned.proxy_trials(), confirmed(warned))
    unfinished, *warnings = table["warnings"]
    named = {t.user_attrs["worker"] for t in warned.proxy_trials() if "worker" in t.user_attrs}
    for warning, caveat in zip(warnings, sentences, strict=True):  # an export is for others: workers are numbered
        assert (warning == caveat.sentence) == (caveat.name != "hardware")
        assert caveat.name != "hardware" or (
            "by worker 1)" in warning and not any(f"by {n})" in warning for n in named)
        )
    assert unfinished.startswith("the study is not finished: ")
    assert [c.name for c in sentences] == ["edge", "noise", "hardware", "failures"]
    for form in FORMATS:
        path = tmp_path / f"best.{form}"
        path.write_text(render(table, form), encoding="utf-8")
        assert read_export(path).training.configuration == PLAN.configuration(table["parameters"])
    sync_notes(warned)
    note = get_note(warned.proxies)
    assert all(f"\n- {c.sentence}" in note for c in sentences)


def test_a_study_without_caveats_shows_none(database: Database) -> None:
    screen = Console(width=80, record=True, file=io.StringIO())
    screen.print(summary(read(open_study(database, PLAN))))
    assert "Caveats" not in screen.export_text()
