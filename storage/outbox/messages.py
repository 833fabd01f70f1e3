"""What a worker writes of a trial that it trains, as letters: each sets a value, so that twice is as good as once.

A letter is a record that JSON can hold: `queue`, `study` (the identity of the study that the queue is of),
`trial_id`, `worker`, and what it says, which is one of
`report` [step, value], `attributes` {key: value}, `finish` [state, value], `fail` [cause, detail].
"""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb.models import TrialIntermediateValueModel
from optuna.trial import TrialState

from storage.outbox.journal import Letter, dead_letters
from storage.queue.trial_queue import TrialQueue
from storage.server.database import Database

# One round trip each; a trial that doesn't run any more takes nothing: then no row is written.
REPORT = sa.text(
    """
    INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
    SELECT trial_id, :step, :value, CAST(:kind AS trialintermediatevaluetype)
    FROM trials WHERE trial_id = :trial_id AND state = 'RUNNING'
    ON CONFLICT (trial_id, step) DO UPDATE
    SET intermediate_value = excluded.intermediate_value, intermediate_value_type = excluded.intermediate_value_type
    """
)
ATTRIBUTES = sa.text(
    """
    INSERT INTO trial_user_attributes (trial_id, key, value_json)
    SELECT t.trial_id, a.key, a.value_json
    FROM trials t, unnest(CAST(:keys AS text[]), CAST(:values AS text[])) AS a (key, value_json)
    WHERE t.trial_id = :trial_id AND t.state = 'RUNNING'
    ON CONFLICT (trial_id, key) DO UPDATE SET value_json = excluded.value_json
    """
)

# A journal may outlive its study: a letter counts only where its own worker still holds the trial.
HELD_BY = sa.text(
    """
    SELECT 1 FROM trials JOIN trial_user_attributes a USING (trial_id)
    WHERE trial_id = :trial_id AND study_id = :study_id AND state = 'RUNNING'
      AND a.key = 'worker' AND a.value_json = :worker
    """
)


def deliver(database: Database, queue: TrialQueue, letter: Letter) -> bool:
    """Write a letter into the database; returns False, and changes nothing, where the trial was taken away."""
    trial_id = letter["trial_id"]
    if "report" in letter:
        step, value = letter["report"]
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        return _write(database, REPORT, {"trial_id": trial_id, "step": step, "value": stored, "kind": kind.name})
    if "attributes" in letter:
        said = letter["attributes"]
        values = [json.dumps(value) for value in said.values()]
        return _write(database, ATTRIBUTES, {"trial_id": trial_id, "keys": list(said), "values": values})
    if "finish" in letter:
        state, value = letter["finish"]
        return queue.finish(trial_id, TrialState[state], value)
    return queue.fail(trial_id, *letter["fail"])


def _write(database: Database, statement: sa.TextClause, values: dict[str, Any]) -> bool:
    with database.alone() as alone:
        return alone.execute(statement, values).rowcount > 0


def deliver_leftovers(
    database: Database, queues: Iterable[TrialQueue], folder: Path, say: Callable[[str], None] = lambda line: None
) -> int:
    """Deliver what dead workers of this machine left in the folder; returns how many letters counted."""
    by_name = {queue.name: queue for queue in queues}
    counted, foreign = 0, 0
    for path in sorted(folder.glob("*.jsonl")):
        with dead_letters(path) as letters:
            mine = [letter for letter in letters if _is_of(by_name.get(letter.get("queue", "")), letter)]
            foreign += len(letters) - len(mine)
            counted += sum(_deliver_leftover(database, by_name[letter["queue"]], letter) for letter in mine)
    if counted:
        say(f"delivered {counted} reports of a worker that had lost the database")
    if foreign:
        say(f"left out {foreign} reports of another study's worker")
    return counted


def _is_of(queue: TrialQueue | None, letter: Letter) -> bool:
    """Return whether a letter was written for this queue's study; older versions' don't say for which."""
    return queue is not None and letter.get("study", queue.identity) == queue.identity


def _deliver_leftover(database: Database, queue: TrialQueue, letter: Letter) -> bool:
    return database.retrying(partial(_deliver_held, database, queue, letter))


def _deliver_held(database: Database, queue: TrialQueue, letter: Letter) -> bool:
    worker = json.dumps(letter["worker"])
    holder = {"trial_id": letter["trial_id"], "study_id": queue.study_id, "worker": worker}
    with database.engine.connect() as connection:
        held = connection.execute(HELD_BY, holder).scalar() is not None
    return held and deliver(database, queue, letter)
