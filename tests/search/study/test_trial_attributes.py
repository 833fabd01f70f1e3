"""Attributes of a wrong kind, as a stolen login may write them."""

from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial

from search.analysis.snapshot import Snapshot
from search.show.dashboard.trial_notes import trial_notes
from search.show.report.answers import ANSWERS
from search.show.status.study_overview import study_overview
from search.study import trials
from search.study.trial_attributes import valid_attributes, with_valid_attributes
from search.study.trials import INHERITED, VALIDATORS, Attributes, budget_of, final_budget
from storage.queue.trial_queue import Claim, TrialQueue
from storage.server.database import Database
from tests.search.made import proxy
from tests.search.show.studied import plan, searched, snapshot_of

ODD: tuple[Any, ...] = (["x"], {"x": []}, "\x1b[2J", None, float("nan"), float("inf"), 10**400, True, -1)


def test_right_ones_stay_and_wrong_ones_are_as_if_never_noted() -> None:
    right = proxy(0, 1.4, {}, tokens=3, budget="6m", baseline="hand", control=False, total_seconds=2, other=["kept"])
    wrong = proxy(1, 1.4, {}, tokens="3", budget="soon", baseline=["hand"], control=1, total_seconds=float("nan"))
    unchanged, cleaned = with_valid_attributes([right, wrong])
    assert unchanged is right
    assert cleaned.user_attrs == {}
    assert wrong.user_attrs["tokens"] == "3"  # the storage's own is left alone
    assert (cleaned.number, cleaned.value, cleaned.params) == (1, 1.4, wrong.params)


def test_a_retry_is_of_an_earlier_trial_and_a_seed_is_a_count() -> None:
    """A trial that retried itself would have no first try."""
    cleaned = with_valid_attributes(
        [proxy(2, 1.4, {}, retries=r, seed=s) for r, s in ((1, 0), (2, -1), (-1, 2**63), (True, True))]
    )
    assert [t.user_attrs for t in cleaned] == [{"retries": 1, "seed": 0}, {}, {}, {}]


def test_what_a_claimed_trial_says_of_itself_is_read_by_kind() -> None:
    snapshot = {"control": "no", "by_hand": 1, "budget": 5, "lr_scale": -1, "baseline": "mine", "other": ["kept"]}
    assert valid_attributes(snapshot, 3) == {"baseline": "mine", "other": ["kept"]}
    assert snapshot["control"] == "no"


@pytest.mark.parametrize("key", sorted(VALIDATORS))
def test_no_value_of_any_attribute_breaks_a_report(key: str) -> None:
    of = plan()
    for odd in ODD:
        snapshot = read(of, *(_with(trials, key, odd) for trials in searched(of, 12)))
        assert study_overview(snapshot).table()
        for _, answer in ANSWERS.values():
            assert answer(snapshot)
        trial_notes(snapshot)


def read(of: Any, proxies: Sequence[FrozenTrial], runs: Sequence[FrozenTrial]) -> Snapshot:
    """What `facts.read` makes of such trials."""
    return snapshot_of(of, with_valid_attributes(proxies), with_valid_attributes(runs))


def _with(trials: Sequence[FrozenTrial], key: str, value: Any) -> list[FrozenTrial]:
    trials[1].user_attrs = {**trials[1].user_attrs, key: value}
    return list(trials)


def test_typed_attributes_are_their_values_and_absent_where_the_type_is_another() -> None:
    right = Attributes({"baseline": "hand", "control": False, "seed": 0, "lr_scale": 0.5, "budget": "6m", "why": ""})
    assert (right.baseline, right.control, right.seed, right.lr_scale) == ("hand", False, 0, 0.5)
    assert (right.budget, right.why) == ("6m", "")
    wrong = Attributes({"baseline": 3, "control": 1, "seed": True, "lr_scale": "2", "budget": "soon", "why": None})
    assert wrong.stored["control"] == 1
    for absent in (wrong, Attributes({})):
        assert (absent.baseline, absent.control, absent.seed, absent.budget) == (None, None, None, None)
        assert (absent.lr_scale, absent.why, absent.provenance) == (1.0, "first run", {})


def test_a_claimed_trial_with_an_attribute_of_a_wrong_type_gets_the_studys_own_budget() -> None:
    of = plan()
    run = proxy(0, 1.4, {}, budget={"h": 1})
    assert budget_of(run, of) == of.confirm.budget
    assert final_budget(of, run)


def test_every_attribute_that_is_read_has_a_type() -> None:
    keys = {v for k, v in vars(trials).items() if k.isupper() and isinstance(v, str)}
    unread = {"sampler", "steps", "micro_batch", "train_curve", "mfu", "mode", "ran_before"}
    assert keys == VALIDATORS.keys() | unread
    assert set(INHERITED) <= keys


def test_keys_that_the_queue_writes_are_the_same_there(database: Database) -> None:
    optuna.create_study(study_name="one", storage=database.storage)
    queue = TrialQueue(database, "one", grace_seconds=60, inherited=INHERITED)
    assert queue.enqueue({}, {trials.SEED: 3, trials.MFU: 0.5})
    claim = queue.claim("a-worker", None)
    assert isinstance(claim, Claim)
    assert queue.fail(claim.trial_id, "lost", "gone")
    lost, retry = map(trials.attributes_of, database.storage.get_all_trials(queue.study_id))
    assert (lost.worker, lost.failure, lost.failure_detail) == ("a-worker", "lost", "gone")
    assert (retry.retries, retry.seed, retry.worker) == (0, 3, None)
    assert trials.MFU not in retry.stored
