"""One identity stands on both halves of a study: what another study left under its name is refused, never taken."""

from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
import torch
from optuna.trial import TrialState, create_trial

from search.cloud.rental import is_machine_of, launch_name, launch_token
from search.common import paths
from search.common.errors import HalvesError, SearchError
from search.common.signals import StopRequest
from search.show.leaderboard.from_studies import entrants_from_database
from search.show.leaderboard.links import LinkTemplate
from search.strategy.priming import prime
from search.strategy.study_pruner import make_pruner
from search.study.cost import registry_of
from search.study.identity import ID, are_halves, confirm_name
from search.study.plan import Plan
from search.study.study import LinkedStudy, load_study, open_study
from search.worker.registration import registered
from search.worker.resume import SavedStates
from search.worker.worker import Worker
from storage.access import roles
from storage.errors import GoneError
from storage.outbox.journal import Journal
from storage.outbox.messages import deliver_leftovers
from storage.queue.trial_queue import Claim, NoClaim
from storage.server import quick_look as glance
from storage.server.database import Database
from tests.search.conftest import Typed
from tests.search.raced import plan
from tests.search.tiny import PLAN

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
OTHER = PLAN.replace("vocab_size = 512", "vocab_size = 400").replace("n_layer = 1", "n_layer = 2")


def delete(database: Database, name: str) -> None:
    """What `optuna delete-study`, or a click in the dashboard, does."""
    optuna.delete_study(study_name=name, storage=database.storage)


def confirm(study: LinkedStudy, value: float = 1.5) -> None:
    """One long run to its end."""
    claim = study.confirm_queue.claim("old/1", None)
    assert isinstance(claim, Claim)
    assert study.confirm_queue.finish(claim.trial_id, TrialState.COMPLETE, value)


def forget(part: optuna.Study, database: Database, key: str = ID) -> None:
    """Make a half as versions before this one left it."""
    with database.engine.begin() as connection:
        gone = "DELETE FROM study_user_attributes WHERE study_id = :study AND key = :key"
        connection.execute(sa.text(gone), {"study": part._study_id, "key": key})


def leave_message(folder: Path, content: dict[str, object]) -> None:
    """What a worker that died had written of its trial."""
    journal = Journal(folder)
    journal.append({"worker": "one", "report": [50, 2.0], **content})
    journal.close()


def test_both_halves_bear_one_identity(database: Database) -> None:
    study = open_study(database, plan())
    assert study.proxies.user_attrs[ID] == study.confirmations.user_attrs[ID] == study.proxy_queue.identity
    assert open_study(database, plan()).confirm_queue.identity == study.confirm_queue.identity


def test_old_confirmation_runs_are_not_a_new_studys(database: Database) -> None:
    old = open_study(database, plan())
    confirm(old)
    delete(database, "made")
    for other in (plan(), plan(baseline=0.05)):  # whether the file is another or the same
        with pytest.raises(HalvesError, match=r'(?s)"made-confirm".*earlier study.*--as NEW-NAME'):
            open_study(database, other)
    assert optuna.get_all_study_names(database.storage) == ["made-confirm"]  # nothing made, nothing deleted
    assert len(old.confirm_trials()) == 1
    with pytest.raises(HalvesError, match="delete-study --study-name made-confirm"):
        load_study(database, "made")
    delete(database, "made-confirm")  # the cure
    assert [t.state for t in open_study(database, plan()).confirm_trials()] == [TrialState.WAITING]


@pytest.mark.parametrize("marked", ["both", "proxies", "neither"])
def test_a_study_already_mixed_up_is_refused(database: Database, marked: str) -> None:
    """What versions before this one made of a deleted half: a new study whose long runs are an earlier one's."""
    old = open_study(database, plan())
    confirm(old)
    delete(database, "made")
    new = optuna.create_study(study_name="made", storage=database.storage)
    new.set_user_attr("plan", plan(baseline=0.05).toml())
    if marked != "neither":
        new.set_user_attr(ID, "a" * 32)
    if marked != "both":
        forget(old.confirmations, database)
    with pytest.raises(HalvesError, match=r'"made-confirm".*earlier study named "made"'):
        load_study(database, "made")
    with pytest.raises(HalvesError, match=r'"made-confirm".*earlier study named "made"'):
        open_study(database, plan(baseline=0.05))
    entries, lines = entrants_from_database(database, None, LinkTemplate(""), prompts=False)
    assert not entries
    assert 'made is left out: the Optuna study "made-confirm"' in lines[0]
    url = database.engine.url
    where = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database, "password": url.password}
    assert [seen.confirmed for seen in glance.studies(where)] == [0]


@pytest.mark.parametrize("without", [("confirmations",), ("proxies", "confirmations")])
def test_a_study_of_an_older_version_goes_on(database: Database, without: tuple[str, ...]) -> None:
    study = open_study(database, plan())
    confirm(study)
    for half in without:
        forget(getattr(study, half), database)
    assert len(load_study(database, "made").confirm_trials()) == 1
    again = open_study(database, plan())
    assert [t.state for t in again.confirm_trials()] == [TrialState.COMPLETE]
    assert again.confirmations.user_attrs.get(ID) == again.proxies.user_attrs.get(ID)  # it is marked from now on


def test_runs_of_proxies_that_are_not_here_are_anothers(database: Database) -> None:
    study = open_study(database, plan())
    forget(study.confirmations, database)
    assert are_halves(study.proxies, study.confirmations)
    run = {"confirms": 3, "seed": 1, "budget": "30m"}
    study.confirmations.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0, user_attrs=run))
    assert not are_halves(study.proxies, study.confirmations)


def test_a_deleted_half_is_created_again_and_reported(database: Database) -> None:
    study = open_study(database, plan())
    confirm(study)
    delete(database, "made-confirm")
    with pytest.raises(
        HalvesError, match=r'are gone.*"made-confirm" was deleted.*start --study made` creates it again'
    ):
        load_study(database, "made")
    lines: list[str] = []
    again = open_study(database, plan(), lines.append)
    assert lines == ['note: the confirmation runs of "made" were deleted: "made-confirm" was created again, empty']
    assert [t.state for t in again.confirm_trials()] == [TrialState.WAITING]
    assert again.confirmations.user_attrs[ID] == again.proxies.user_attrs[ID] == study.proxy_queue.identity
    assert again.folder == study.folder
    assert again.runs_folder != again.folder  # whose files are named by the numbers of other runs
    open_study(database, plan(), lines.append)
    assert len(lines) == 1


def test_credentials_reach_a_half_created_again(database: Database) -> None:
    study = open_study(database, plan())
    ids = [study.proxies._study_id, study.confirmations._study_id]
    issued = roles.new(database, ids, name="box", lifetime_seconds=60)
    delete(database, "made-confirm")
    again = open_study(database, plan())
    with database.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT study_id FROM lilm_credentials WHERE role = :r"), {"r": issued.role})
        assert set(rows.scalars()) == {again.proxies._study_id, again.confirmations._study_id}
    roles.revoke(database, "box")


COMMANDS = (
    *("status", "status --watch", "status --json", "report", "export", "race", "promote --trial 0", "fleet"),
    *("down --all", "artifacts", "plot curves", "sweep", "leaderboard", "verify", "worker", "dashboard"),
    *("credential new --to -", "launch --gpu RTX4090 --max-usd 1"),
)


@pytest.mark.parametrize("kind", ["gone", "left over", "of a gone study"])
def test_every_command_says_so_in_a_sentence(
    database: Database, database_url: str, typed: Typed, home: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("LILM_SEARCH_STORAGE", database_url)
    monkeypatch.setattr(StopRequest, "install", lambda stop: None)
    monkeypatch.setattr("search.cloud.launch.check_reachable", lambda *given: None)
    monkeypatch.setattr("search.cloud.launch.need_sky", lambda: None)
    confirm(open_study(database, plan()))
    delete(database, "made-confirm" if kind == "gone" else "made")
    if kind == "left over":
        optuna.create_study(study_name="made", storage=database.storage).set_user_attr("plan", plan().toml())
    cure = "`lilm-search start --study made`" if kind == "gone" else "delete-study --study-name made-confirm"
    for command in COMMANDS:
        code, _, err = typed(*command.split(), "--study", "made")
        assert (code, "Traceback" in err, cure in err) == (1, False, True), f"{command}: {err}"


def test_start_refuses_leftovers_and_creates_a_half_again(
    database: Database, database_url: str, typed: Typed, home: Path, plan_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole story through the commands, as a user tells it."""
    monkeypatch.setenv("LILM_SEARCH_STORAGE", database_url)
    monkeypatch.setattr(StopRequest, "install", lambda stop: None)
    start = ("start", "--workers", "0", "--study")
    confirm(open_study(database, Plan.parse(PLAN, name="tiny", origin="a test")))
    delete(database, "tiny")
    plan_file.write_text(OTHER, encoding="utf-8")
    code, out, err = typed(*start, str(plan_file))
    assert (code, "tiny-confirm" in err, "--as NEW-NAME" in err) == (1, True, True)
    assert "preparing" not in out  # nor is text prepared first
    delete(database, "tiny-confirm")
    assert typed(*start, str(plan_file))[0] == 0
    delete(database, "tiny-confirm")
    code, out, err = typed(*start, "tiny")
    assert (code, '"tiny-confirm" was created again, empty' in out) == (0, True), err
    assert load_study(database, "tiny").plan.tokenizer.vocab_size == 400


def test_names_that_end_as_halves_do(database: Database) -> None:
    own = open_study(database, plan(name="x-confirm"))
    confirm(own)
    with pytest.raises(HalvesError, match="it is a study of its own"):
        open_study(database, plan(name="x"))
    assert load_study(database, "x-confirm").plan.name == "x-confirm"
    with pytest.raises(SearchError, match="it holds: x-confirm"):
        load_study(database, "nothing")
    open_study(database, plan(name="y"))
    with pytest.raises(SearchError, match='holds the confirmation runs of "y"'):
        open_study(database, plan(name="y-confirm"))
    delete(database, "y-confirm")
    with pytest.raises(SearchError, match='under that name the confirmation runs of "y" are kept'):
        open_study(database, plan(name="y-confirm"))


def test_another_programs_study_is_not_a_half(database: Database) -> None:
    optuna.create_study(study_name="made-confirm", storage=database.storage)
    with pytest.raises(HalvesError, match="lilm-search didn't create it"):
        open_study(database, plan())


@pytest.mark.parametrize("deleted", ["made", "made-confirm"])
def test_a_worker_whose_study_is_deleted_ends_with_a_sentence(database: Database, home: Path, deleted: str) -> None:
    """And writes nothing into the one that has taken its name."""
    study = open_study(database, plan())
    claim = study.proxy_queue.claim("one", 12)
    assert isinstance(claim, Claim)
    for name in {deleted, "made-confirm"}:
        delete(database, name)
    fresh = open_study(database, plan())
    worker = Worker(study, "one", torch.device("cpu"), StopRequest(), lambda line: None, trainer=None)  # type: ignore[arg-type]
    if deleted == "made":
        with pytest.raises(GoneError, match="was deleted from the database"):
            study.database.retrying(lambda: study.proxy_queue.claim("one", 12))
        with pytest.raises(GoneError), registered(study, "one", torch.device("cpu"), {}):
            pass
    with pytest.raises(GoneError):
        worker.retrying(lambda: study.confirm_queue.claim("one", None))
    assert registry_of(fresh).workers() == []
    assert all(t.state == TrialState.WAITING or t._trial_id == claim.trial_id for t in fresh.proxy_trials())
    assert [t.state for t in fresh.confirm_trials()] == [TrialState.WAITING]


def test_a_study_with_nothing_left_is_not_done_once_it_is_deleted(database: Database) -> None:
    study = open_study(database, plan())
    confirm(study)
    assert study.confirm_queue.claim("one", None) is NoClaim.DONE
    delete(database, "made-confirm")
    with pytest.raises(GoneError):
        study.database.retrying(lambda: study.confirm_queue.claim("one", None))


def test_a_worker_is_for_the_study_it_was_started_for(database: Database) -> None:
    old = open_study(database, plan()).proxy_queue.identity
    assert load_study(database, "made", old)
    delete(database, "made")
    delete(database, "made-confirm")
    open_study(database, plan())
    with pytest.raises(SearchError, match='"made" is another study now'):
        load_study(database, "made", old)


def test_a_journal_is_delivered_to_its_own_study(database: Database, tmp_path: Path) -> None:
    """Even where its trial's number and its worker's name are the study's too: a database may have been restored."""
    study = open_study(database, plan())
    claim = study.proxy_queue.claim("one", 12)
    assert isinstance(claim, Claim)
    message = {"queue": "made", "trial_id": claim.trial_id}
    lines: list[str] = []
    leave_message(tmp_path, {**message, "study": "b" * 32})
    assert deliver_leftovers(database, study.queues, tmp_path, lines.append) == 0
    assert lines == ["left out 1 reports of another study's worker"]
    leave_message(tmp_path, {**message, "queue": "made-confirm", "study": study.proxy_queue.identity})
    assert deliver_leftovers(database, study.queues, tmp_path) == 0  # a trial of the other half
    assert study.proxies.trials[claim.number].intermediate_values == {}
    for sender in ({"study": study.proxy_queue.identity}, {}):  # versions before this one didn't say
        leave_message(tmp_path, {**message, **sender})
        assert deliver_leftovers(database, study.queues, tmp_path) == 1


def test_states_to_resume_from_are_the_studys_own(database: Database, home: Path) -> None:
    """Where a bucket is shared, or runs are numbered anew, names and numbers alone would meet another's state."""

    def states(study: LinkedStudy) -> SavedStates:
        number = study.confirm_trials()[-1].number
        return SavedStates(study, number, None, stopping=lambda: False, go_on=lambda r, a: None, say=lambda line: None)

    study = open_study(database, plan())
    named = states(study)._id(study.confirm_trials()[0])
    assert study.folder in named
    assert named != f"{confirm_name('made')}-state-{study.confirm_trials()[0]._trial_id}"
    folder = paths.resume(study.runs_folder)
    delete(database, "made-confirm")
    again = open_study(database, plan())
    assert paths.resume(again.runs_folder) != folder
    assert paths.checkpoints(again.runs_folder) != paths.checkpoints(study.folder)
    assert paths.outbox(again.folder) == paths.outbox(study.folder)  # what proxies had written still arrives


def test_machines_are_of_the_study_they_were_rented_for() -> None:
    """Names are cut where they are long, and come again: `down --all` ends no other study's machines."""
    mine, other = "1a2b" + 28 * "0", "3c4d" + 28 * "0"
    for name, alike in (("babylm", "babylm"), ("babylm-of-many-words-1", "babylm-of-many-words-2")):
        machine = f"{launch_name(name, launch_token(mine))}-12"
        assert is_machine_of(name, machine, mine)
        assert not is_machine_of(alike, machine, other)
        assert len(machine) <= 32  # a credential's name, which is the machine's
        older = f"{launch_name(name, '3f2a')}-1"  # by a version before this one
        assert is_machine_of(name, older, mine)


def test_what_a_pruner_learnt_bears_the_teachers_identity(database: Database) -> None:
    teacher = open_study(database, plan(name="earlier"))
    delete(database, "earlier-confirm")  # only its proxies teach
    study = open_study(database, plan(pruner='primed_by = "earlier"'), prime=prime)
    assert study.proxies.user_attrs["lessons_from"] == {"earlier": teacher.proxy_queue.identity}
    delete(database, "earlier")
    open_study(database, plan(name="earlier"))
    lines: list[str] = []
    again = open_study(database, plan(pruner='primed_by = "earlier"'), lines.append, prime)
    assert lines == ['note: the results of "earlier" (`primed_by`) stay in use, though another study has that name now']
    assert make_pruner(again).earlier == make_pruner(study).earlier
