"""What one worker writes must not take the study from all others: only what can be read is let in."""

import json
from typing import Any

import optuna
import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from storage.access.json_guard import READABLE
from storage.queue.trial_queue import Claim, TrialQueue
from storage.server.database import Database
from tests.storage.queue.test_trial_queue import GRACE_SECONDS, STUDY, let_server_be_old, silence

GOOD = [
    *("1", "-0.5e-7", "1e999", "NaN", "-Infinity", "true", "null", " [NaN , Infinity,NaN]", '{"a":NaN,"b":-Infinity}'),
    *('"NaN"', '"x, NaN, [[["', json.dumps('\\ " \n é \0 ]'), json.dumps({"a": [1, {"b": []}], "c": "0" * 5000})),
    json.dumps([[float(n), {"n": "[" * n}] for n in range(200)]),
]
BAD = [
    *("", "nonsense", "nan", "+1", "01", "1NaN", "1-Infinity", "NaN NaN", "{NaN: 1}", "[1,]", '"\\x"', "'a'", '"a'),
    *("[" * 2000 + "]" * 2000, "1" * 5000, "--Infinity", '{"a" NaN}'),
]


def make_queue(database: Database) -> TrialQueue:
    let_server_be_old(database)
    optuna.create_study(study_name=STUDY, storage=database.storage)
    return TrialQueue(database, STUDY, grace_seconds=GRACE_SECONDS)


def test_what_python_reads_is_readable_and_nothing_else(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(READABLE, execution_options={"no_parameters": True})
        ask = sa.text("SELECT lilm_readable(:text)")
        readable = {text: connection.scalar(ask, {"text": text}) for text in (*GOOD, *BAD)}
    assert readable == dict.fromkeys(GOOD, True) | dict.fromkeys(BAD, False)
    for text in GOOD:
        json.loads(text)
    for text in BAD:
        with pytest.raises((ValueError, RecursionError)):
            json.loads(text)


@pytest.mark.parametrize("noticed", ["nonsense", "1.2.3", "9999999999", "1" * 400, "null", '"x"'])
def test_a_wrong_time_of_notice_delays_no_reaping(noticed: str, database: Database) -> None:
    queue = make_queue(database)
    claim = queue.claim("w", 1)
    assert isinstance(claim, Claim)
    with database.engine.begin() as connection:
        add = "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (:id, 'noticed_silent', :text)"
        connection.execute(sa.text(add), {"id": claim.trial_id, "text": noticed})
    assert not queue.reap()
    silence(database, claim.trial_id)
    assert queue.reap()


@pytest.mark.parametrize("wrong", ["x", [1], {"a": 1}, None, 1.5, -1000])
def test_wrong_types_count_as_absent(wrong: Any, database: Database) -> None:
    queue = make_queue(database)
    claim = queue.claim("w", 1)
    assert isinstance(claim, Claim)
    for key in ("tries", "retries", "worker"):
        database.storage.set_trial_user_attr(claim.trial_id, key, wrong)
    database.uncached.set_trial_system_attr(claim.trial_id, "fixed_params", wrong)
    assert queue.fail(claim.trial_id, "lost")
    again = queue.claim("w", 1)
    assert isinstance(again, Claim)
    assert (again.user_attrs["tries"], again.user_attrs["retries"]) == (2, claim.number)
    assert queue.finish(again.trial_id, TrialState.COMPLETE, 1.0)
