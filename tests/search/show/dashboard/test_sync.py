"""What is stored in a study for optuna-dashboard: its text, that it is stored once, and who may store it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import sqlalchemy as sa
from optuna.trial import Trial, TrialState, create_trial
from optuna_dashboard import get_note, save_note, save_plotly_graph_object
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from search.analysis.snapshot import read
from search.show.dashboard import sync
from search.show.dashboard.figures import NAMES, saved_figures
from search.show.dashboard.sync import (
    LAST_UPDATE,
    UPDATE_SECONDS,
    save_figures,
    sync_notes,
    update_dashboard,
    update_dashboard_if_due,
)
from search.show.dashboard.trial_notes import trial_notes
from search.study.study import LinkedStudy, load_study, open_study
from storage.access import roles
from storage.server.database import Database, connect, parse_url
from tests.conftest import database_with_tables
from tests.search.copies import database_holding
from tests.search.made import PLAN
from tests.search.shown import NASTY, by_number, full_study

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # as the commands do


@pytest.fixture
def full_url(embedded_url: str) -> str:
    """A database with a study that has something of everything."""
    return database_holding(full_study, embedded_url)


@pytest.fixture
def full(full_url: str) -> Iterator[Database]:
    opened = connect(full_url)
    yield opened
    opened.close()


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """Every statement that the database is sent meanwhile."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(" ".join(statement.split()))

    sa.event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    sa.event.remove(database.engine, "before_cursor_execute", note)


def writes(sent: list[str]) -> list[str]:
    return [s for s in sent if s.startswith(("INSERT", "UPDATE", "DELETE"))]


def notes(study: LinkedStudy) -> dict[int, str]:
    return {t.number: get_note(Trial(study.proxies, t._trial_id)) for t in study.proxy_trials()}


def figures(study: LinkedStudy) -> dict[str, str]:
    return dict(get_plotly_graph_objects(study.database.storage.get_study_system_attrs(study.proxies._study_id)))


def straight(call: Any) -> Any:
    return call()


def test_each_proxy_that_is_worth_a_word_has_a_note(full: Database) -> None:
    study = load_study(full, "shown")
    sync_notes(study)
    stored_notes = notes(study)
    assert {n for n, note in stored_notes.items() if not note} == {3, 5, 6, 8}  # trained to the end, and that is all
    for number, parts in {
        0: ("made by hand", "place 6 of 6", "1.5000 BPB at 6m, place 7 of 10", "1.3000 (seed 100, run 0)"),
        1: (
            "**Control**",
            "**Confirmed at 30m: 1.25",
            "(95%, 1 seed, mean 1.2500)",
            "place 3 of 6",
            "0.0550 better than baseline",
        ),
        2: ("**Confirmed at 30m: 1.21", "(95%, 2 seeds, mean 1.2150)**, place 1 of 6 (trial 2)", "The race: leads"),
        4: ("which may be chance (95%)",),
        10: ("**Pruned at 30%** of 6m: 2.1% of the best runs", "6% would spare it. Saved 4.2 min of training"),
        11: (
            "**Pruned at 60%** of 6m: its chance of a place among the best 8 was under 0.1%; ",
            "new trials for the rest of its cost take 0.04 on average. Saved 2.4 min of training",
        ),
        12: ("**Out of memory**", "lower the top of the sizes' ranges"),
        13: ("**Ended in an error**", "files. It said: ValueError: "),
    }.items():
        assert all(part in stored_notes[number] for part in parts), stored_notes[number]
    assert all(NASTY not in note and "![" not in note for note in stored_notes.values())
    runs = [get_note(Trial(study.confirmations, t._trial_id)) for t in study.confirm_trials()]
    assert "**trial 2**, seed 101, 30m: 1.2200 BPB" in runs[4]


@pytest.mark.parametrize(("place", "words"), [(1, "it was the best of"), (5, "it was the 5th best of")])
def test_the_note_of_a_proxy_behind_names_its_place_where_it_was_compared(place: int, words: str) -> None:
    behind = {"pruner": "behind", "place": place, "came_as_far": 12}
    trial = create_trial(state=TrialState.PRUNED, user_attrs=behind, intermediate_values={25: 1.9})
    snapshot = SimpleNamespace(plan=PLAN, proxies=[trial], confirmed=[], finished=[])
    (note,) = trial_notes(snapshot).values()  # type: ignore[arg-type]
    assert f"**Pruned at 25%** of 6m: {words} the 12 proxies that came as far, whose best quarter goes on." in note
    assert "Saved 4.5 min of training." in note


def test_the_studys_note_has_the_answer_first(full: Database) -> None:
    study = load_study(full, "shown")
    sync_notes(study)
    first, *rest = get_note(study.proxies).split("\n\n")
    assert first.startswith("### trial 2 is the best confirmed: 1.21")
    assert first.endswith("(95%, 2 seeds, mean 1.2150) at 30m")
    assert "not ahead of all others by more than noise; 0.0900 better than baseline" in rest[0]
    assert [row.split(" | ")[1] for row in rest[1].splitlines()[2:7]] == [f"trial {n}" for n in (2, 7, 1, 9, 4)]
    assert rest[2].startswith("Transfer: the proxy predicts")
    assert "lilm-search export --study shown > best.toml" in rest[-2]


def test_before_anything_is_confirmed_it_says_how_far_the_search_is(database: Database) -> None:
    study = open_study(database, PLAN)
    sync_notes(study)
    assert get_note(study.proxies).startswith(
        "### Nothing is confirmed yet\n\n0 of 100 proxies have trained to the end."
    )


def test_nothing_is_written_again_while_nothing_has_changed(full: Database) -> None:
    study = load_study(full, "shown")
    save_figures(study, sync_notes(study))
    before = notes(study), get_note(study.proxies), figures(study)
    with statements(full) as sent:
        save_figures(study, sync_notes(study))
    assert writes(sent) == []
    assert (notes(study), get_note(study.proxies), figures(study)) == before


def test_two_thousand_notes_are_one_statement_and_none_the_next_time(database: Database) -> None:
    study = open_study(database, PLAN)
    with database.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete) "
                "SELECT n, :study_id, 'PRUNED', now(), now() FROM generate_series(0, 1999) n"
            ),
            {"study_id": study.proxies._study_id},
        )
    with statements(database) as first:
        sync_notes(study)
    assert len(writes(first)) == 1
    stored = database.storage.get_study_system_attrs(study.proxies._study_id)
    assert sum(key.endswith("note_ver") for key in stored) == 2000 + 1  # and the study's own
    assert "**Pruned at 0%**" in get_note(Trial(study.proxies, study.proxy_trials()[1999]._trial_id))
    with statements(database) as second:
        sync_notes(study)
    assert writes(second) == []
    assert len(second) < 60  # however many trials there are


def test_what_people_write_stays(full: Database) -> None:
    study = load_study(full, "shown")
    trials = by_number(study)
    save_note(Trial(study.proxies, trials[10]._trial_id), "Look at this one!")
    save_note(Trial(study.proxies, trials[3]._trial_id), "mine alone")
    save_note(study.proxies, "### Confirmed\n\nby an earlier version")
    sync_notes(study)
    assert notes(study)[3] == "mine alone"
    assert notes(study)[10].startswith("**Pruned at 30%**")
    assert notes(study)[10].endswith("\n\nLook at this one!")
    assert "an earlier version" not in get_note(study.proxies)
    save_note(study.proxies, get_note(study.proxies) + "\n\nTold Ada.")
    study.proxies.add_trial(trials[10])
    sync_notes(study)
    assert "Pruning: 3 pruned" in get_note(study.proxies)
    assert get_note(study.proxies).endswith("\n\nTold Ada.")
    assert get_note(study.proxies).count("Told Ada.") == 1


def test_the_figures_are_small_and_drawn_of_what_is_there(database: Database, full: Database) -> None:
    study = open_study(database, PLAN)
    save_figures(study, sync_notes(study))
    assert figures(study) == {}  # nothing to draw yet
    study = load_study(full, "shown")
    snapshot = sync_notes(study)
    save_figures(study, snapshot)
    there = figures(study)
    assert there.keys() == set(NAMES)
    assert {name: figure.to_json() for name, figure in saved_figures(snapshot).items()} == there
    assert all(len(text) < 20_000 for text in there.values())


def test_a_figure_that_shrinks_leaves_nothing_of_the_longer_one(full: Database) -> None:
    study = load_study(full, "shown")
    snapshot = sync_notes(study)
    long = saved_figures(snapshot)["transfer"].update_layout(meta="x" * 9000)
    save_plotly_graph_object(study.proxies, long, graph_object_id="transfer")
    save_figures(study, snapshot)
    assert figures(study)["transfer"] == saved_figures(snapshot)["transfer"].to_json()


def test_while_proxies_run_it_is_done_by_one_of_them_now_and_then(full: Database) -> None:
    study, output = load_study(full, "shown"), list[str]()
    update_dashboard_if_due(study, output.append)
    version = get_note(study.proxies)
    assert version
    study.proxies.add_trial(by_number(study)[10])
    with statements(full) as sent:
        update_dashboard_if_due(study, output.append)
    assert len(sent) == 1  # which asks whose turn it is
    assert get_note(study.proxies) == version
    with full.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE study_system_attributes SET value_json = (value_json::int - :ago)::text WHERE key = :key"),
            {"ago": UPDATE_SECONDS + 5, "key": LAST_UPDATE},
        )
    update_dashboard_if_due(study, output.append)
    assert get_note(study.proxies) != version
    assert output == []


def test_what_cannot_be_shown_is_said_and_costs_nothing(full: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> NoReturn:
        raise RuntimeError("no such thing\nat all")

    study, output = load_study(full, "shown"), list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(sync, "split_plot_data", broken)
        update_dashboard(study, output.append, straight)
    assert output == ["note: what optuna-dashboard shows is not up to date: no such thing"]
    assert get_note(study.proxies)  # was written before
    update_dashboard(study, output.append, straight)
    assert len(output) == 1
    assert figures(study).keys() == set(NAMES)


def test_what_a_stolen_login_has_written_there_stops_nothing(full: Database) -> None:
    """It may write any text that is JSON under the dashboard's keys."""
    study, output = load_study(full, "shown"), list[str]()
    noted = by_number(study)[10]._trial_id
    for key in (f"dashboard:{noted}:note_ver", "dashboard:note_ver", "dashboard:plot_data:transfer:0"):
        full.storage.set_study_system_attr(study.proxies._study_id, key, ["no", "text"])
    full.storage.set_study_system_attr(study.proxies._study_id, "dashboard:plot_data:mine:zz", 1)
    update_dashboard(study, output.append, straight)
    assert output == []
    assert notes(study)[10].startswith("**Pruned at 30%**")
    stored = full.storage.get_study_system_attrs(study.proxies._study_id)
    assert stored["dashboard:plot_data:transfer:0"].startswith("{")


def test_all_figures_are_one_statement(full: Database) -> None:
    study = load_study(full, "shown")
    snapshot = sync_notes(study)
    with statements(full) as sent:
        save_figures(study, snapshot)
    assert len(writes(sent)) == 1


def test_a_rented_machines_login_may_do_all_of_it(system_url: str) -> None:
    """A real role that row security confines to its study, which may delete nothing."""
    owners = connect(database_with_tables(system_url))
    study = full_study(owners)
    ids = [study.proxies._study_id, study.confirmations._study_id]
    issued = roles.new(owners, ids, name="box", lifetime_seconds=3600)
    url = parse_url(system_url).set(
        drivername="postgresql", database=owners.engine.url.database, username=issued.role, password=issued.password
    )
    confined = connect(url.render_as_string(hide_password=False))
    output: list[str] = []
    update_dashboard_if_due(load_study(confined, "shown"), output.append)
    study.proxies.add_trial(by_number(study)[10])
    update_dashboard(load_study(confined, "shown"), output.append, straight)  # changes what is there
    assert output == []
    assert "Pruning: 3 pruned" in get_note(study.proxies)
    assert figures(study) == {n: f.to_json() for n, f in saved_figures(read(study)).items()}
    confined.close()
    owners.close()


def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many proxies there were whenever the figures were drawn."""
    from search.show.dashboard import figures as saved

    counts, real = list[int](), saved.saved_figures

    def counted(snapshot: Any) -> dict[str, Any]:
        counts.append(len(snapshot.proxies))
        return real(snapshot)

    monkeypatch.setattr(saved, "saved_figures", counted)
    return counts


def test_at_the_end_one_worker_draws_and_the_others_leave(
    full: Database, full_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them come at once; the first to have the lock does all there is to do."""
    study, counts = load_study(full, "shown"), drawn(monkeypatch)
    output: list[str] = []
    opened = [connect(full_url) for _ in range(4)]
    workers = [
        threading.Thread(target=update_dashboard, args=(load_study(d, "shown"), output.append, d.retrying))
        for d in opened
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    for each in opened:
        each.close()
    assert (output, len(counts)) == ([], 1)
    assert figures(study).keys() == set(NAMES)
    assert get_note(study.proxies)


def test_what_is_new_is_drawn_once_more(full: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    study, counts = load_study(full, "shown"), drawn(monkeypatch)
    trials = len(study.proxy_trials())
    for _ in range(2):
        update_dashboard(study, print, straight)
    assert counts == [trials]
    with statements(full) as sent:
        update_dashboard(study, print, straight)
    assert writes(sent) == []
    study.proxies.add_trial(by_number(study)[10])
    save_note(study.confirmations, "Look here!")
    update_dashboard(study, print, straight)
    assert counts == [trials, trials + 1]
    save_note(study.proxies, "Mine alone.")  # our part is gone: it comes back
    update_dashboard(study, print, straight)
    assert len(counts) == 3
    assert get_note(study.proxies).endswith("\n\nMine alone.")
    assert get_note(study.proxies).startswith("### trial 2 is the best confirmed")


def test_who_is_lost_while_drawing_leaves_it_to_the_next(full: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    study, counts = load_study(full, "shown"), drawn(monkeypatch)

    def lost(*arguments: Any) -> NoReturn:
        raise RuntimeError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(sync, "save_figures", lost)
        update_dashboard(study, print, straight)
    update_dashboard(study, print, straight)
    assert len(counts) == 1
    assert figures(study).keys() == set(NAMES)
