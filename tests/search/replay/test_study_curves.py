from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.common.errors import SearchError
from search.replay.curves import CurveSet
from search.replay.study_curves import BIASED, read_study, study_curves
from storage.server.database import Database


def trial(
    value: float, reports: Mapping[int, float], state: TrialState = TrialState.COMPLETE, **attrs: Any
) -> FrozenTrial:
    given = value if state == TrialState.COMPLETE else None
    return create_trial(state=state, value=given, intermediate_values=dict(reports), user_attrs=attrs)


def falling(value: float, steps: range | tuple[int, ...] = range(10, 101, 10)) -> dict[int, float]:
    """From the value + 10 at the beginning to the value at the end."""
    return {s: value + 10 * (1 - s / steps[-1]) for s in steps}


def curves(trials: list[FrozenTrial], direction: Literal["minimize", "maximize"] = "minimize") -> CurveSet:
    study = optuna.create_study(study_name="mine", direction=direction)
    study.add_trials(trials)
    return study_curves(study)


def whole(runs: int = 12) -> list[FrozenTrial]:
    return [trial(float(n), falling(n)) for n in range(runs)]


def test_the_study_s_own_report_points_in_their_largest_unit() -> None:
    replayable = curves(whole())
    assert (replayable.name, replayable.runs, replayable.notes) == ("mine", 12, ())
    assert (replayable.steps, replayable.last_step) == (tuple(range(1, 10)), 10)
    assert replayable.loss[3] == pytest.approx([3 + 10 - s for s in range(1, 10)])
    assert replayable.final.tolist() == list(range(12))


def test_the_final_value_need_not_be_the_last_report() -> None:
    replayable = curves([trial(n / 2, falling(n)) for n in range(12)])
    assert replayable.final.tolist() == [n / 2 for n in range(12)]


def test_uneven_steps_stay_uneven_and_steps_from_zero_are_counted_from_one() -> None:
    uneven = curves([trial(n, falling(n, (2, 4, 8, 16))) for n in range(10)])
    assert (uneven.steps, uneven.last_step, uneven.progress) == ((1, 2, 4), 8, (0.125, 0.25, 0.5))
    epochs = curves([trial(n, {e: n + 5 - e for e in range(5)}) for n in range(10)])
    assert (epochs.steps, epochs.last_step) == ((1, 2, 3, 4), 5)


def test_a_maximising_study_is_turned() -> None:
    replayable = curves([trial(n / 100, {50: n / 200, 100: n / 100}) for n in range(12)], "maximize")
    assert replayable.final.argmin() == 11
    assert replayable.loss[11] == pytest.approx([-0.055])
    assert "the study maximises: losses are its values with the sign turned" in replayable.notes


def test_notes_say_what_is_left_out_and_that_pruned_trials_are_missing() -> None:
    others = [
        trial(0, {10: 9.0}, TrialState.PRUNED),
        trial(0, {10: 9.0}, TrialState.PRUNED),
        trial(0, {}, TrialState.FAIL),
        trial(1.0, {}),
    ]
    replayable = curves([*whole(), *others])
    left_out = "12 of 16 trials are replayed; left out: 1 fail, 1 finished without a report, 2 pruned"
    assert replayable.notes == (left_out, BIASED)


@pytest.mark.parametrize(("controls", "replayed"), [(29, 41), (30, 30)])
def test_controls_are_replayed_alone_where_they_are_enough(controls: int, replayed: int) -> None:
    drawn = [trial(100 + n, falling(100 + n), control=True) for n in range(controls)]
    others = [trial(n, falling(n), control=False) for n in range(12)]
    replayable = curves([*others, *drawn, trial(0, {10: 9.0}, TrialState.PRUNED)])
    assert replayable.runs == replayed
    assert any("control trials" in note for note in replayable.notes) == (replayed == 30)
    assert curves([*others, *drawn]).runs == 12 + controls  # nothing was pruned: all are a fair sample


def test_trials_that_report_at_points_of_their_own_are_replayed_at_equal_steps() -> None:
    own = [trial(n, falling(n, (30 + n, 60 + n, 1000))) for n in range(12)]
    replayable = curves([*own, trial(0, falling(0, (30, 500)))])
    assert (replayable.runs, replayable.steps, replayable.last_step) == (12, tuple(range(1, 20)), 20)
    assert replayable.loss[3][0] == pytest.approx(3 + 10 * (1 - 33 / 1000))  # the last before 5%
    assert replayable.notes == (
        "1 of 13 runs end early, before 95% of the full run, and are left out",
        "report points differ from trial to trial or are more than 50: replayed at 20 equal steps of progress",
    )


def test_many_report_points_are_thinned_and_ends_may_differ() -> None:
    many = curves([trial(n, falling(n, range(1, 201))) for n in range(12)])
    assert many.last_step == 20
    assert many.loss[0][9] == pytest.approx(5.0)
    ends = curves([trial(n, falling(n, (50 + n, 100 + 2 * n))) for n in range(12)])  # no end is that of most
    assert ends.runs == 12
    assert ends.loss[5][9] == pytest.approx(5 + 5)  # halfway of its own


def test_diverged_trials_count_as_the_worst() -> None:
    replayable = curves([*whole(), trial(float("inf"), falling(50) | {90: float("nan"), 100: float("inf")})])
    assert replayable.loss[12][8] == replayable.final[12] == pytest.approx(59)
    assert replayable.notes == ("1 of 13 runs diverged: NaN and infinite losses count as the set's worst, 59",)


def test_studies_that_can_t_be_replayed_are_refused() -> None:
    with pytest.raises(SearchError, match=r"mine has 3 whole runs, but a replay needs >= 6; 3 of 4 .* left out: 1 pr"):
        curves([*whole(3), trial(0, {10: 9.0}, TrialState.PRUNED)])
    with pytest.raises(SearchError, match=r"has 0 whole runs, .* 0 of 12 trials .* 12 finished without a report"):
        curves([trial(n, {}) for n in range(12)])
    with pytest.raises(SearchError, match="report once, at their end"):
        curves([trial(n, {7: n}) for n in range(12)])
    two = optuna.create_study(study_name="two", directions=["minimize", "maximize"])
    with pytest.raises(SearchError, match='"two" has 2 objectives, but a replay needs 1'):
        study_curves(two)


def test_foreign_storages_are_read(tmp_path: Path) -> None:
    urls = {f"sqlite:///{tmp_path / 'study.db'}": None, str(tmp_path / "journal.log"): tmp_path / "journal.log"}
    for url, journal in urls.items():
        storage = JournalStorage(JournalFileBackend(str(journal))) if journal else url
        study = optuna.create_study(study_name="mine", storage=storage)
        study.add_trials(whole())
        assert read_study("mine", url).runs == 12
        with pytest.raises(SearchError, match=r'--study is "other", but .* it holds: mine'):
            read_study("other", url)
        if not journal:
            study._storage._backend.engine.dispose()  # type: ignore[attr-defined]


def test_so_is_the_service_s_own_database(database: Database, database_url: str) -> None:
    study = optuna.create_study(study_name="mine", storage=database.storage)
    study.add_trials(whole())
    assert read_study("mine", database_url).final.tolist() == list(range(12))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///none.db", "names the file none.db, but there is none"),
        ("no-such-file.log", "but must be a URL such as sqlite:///study.db"),
        ("mysql+pymysql://me:secret@host/db", r"mysql\+pymysql://me:\*\*\*@host/db can't be opened: Failed to import"),
    ],
)
def test_a_storage_that_can_t_be_opened_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SearchError, match=message) as caught:
        read_study("mine", url)
    assert "secret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_is_not_optuna_s_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "other.db").touch()
    with pytest.raises(SearchError, match="can't be opened"):
        read_study("mine", f"sqlite:///{tmp_path / 'other.db'}")
    assert (tmp_path / "other.db").stat().st_size == 0
    (tmp_path / "notes.txt").write_text("not a\njournal\n", encoding="utf-8")
    with pytest.raises(SearchError, match=r"notes.txt can't be opened"):
        read_study("mine", str(tmp_path / "notes.txt"))
