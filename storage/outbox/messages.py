"""Messages of a worker about the trial that it trains, and their delivery into the database.

Each sets a value, so that it may be delivered twice. A message is a record that JSON can hold, with the keys `queue`,
`study` (the identity of the queue's study), `trial_id`, `worker` and one of
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

from storage.outbox.journal import Message, leftover_messages
from storage.queue.trial_queue import TrialQueue
from storage.server.database import Database

# One round trip each. No row is written for a trial that doesn't run any more.
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

# A journal may outlive its study: a message counts only if its worker still has the trial.
HELD_BY = sa.text(
    """
    SELECT 1 FROM trials JOIN trial_user_attributes a USING (trial_id)
    WHERE trial_id = :trial_id AND study_id = :study_id AND state = 'RUNNING'
      AND a.key = 'worker' AND a.value_json = :worker
    """
)


def deliver(database: Database, queue: TrialQueue, message: Message) -> bool:
    """Write a message into the database; return False, and change nothing, if the trial was taken away."""
    trial_id = message["trial_id"]
    if "report" in message:
        step, value = message["report"]
        stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        return _write(database, REPORT, {"trial_id": trial_id, "step": step, "value": stored, "kind": kind.name})
    if "attributes" in message:
        attributes = message["attributes"]
        values = [json.dumps(value) for value in attributes.values()]
        return _write(database, ATTRIBUTES, {"trial_id": trial_id, "keys": list(attributes), "values": values})
    if "finish" in message:
        state, value = message["finish"]
        return queue.finish(trial_id, TrialState[state], value)
    return queue.fail(trial_id, *message["fail"])


def _write(database: Database, statement: sa.TextClause, values: dict[str, Any]) -> bool:
    with database.autocommit() as connection:
        return connection.execute(statement, values).rowcount > 0


def deliver_leftovers(
    database: Database, queues: Iterable[TrialQueue], folder: Path, say: Callable[[str], None] = lambda line: None
) -> int:
    """Deliver the messages that dead workers of this machine left in the folder; return how many counted."""
    by_name = {queue.name: queue for queue in queues}
    counted, foreign = 0, 0
    for path in sorted(folder.glob("*.jsonl")):
        with leftover_messages(path) as messages:
            own = [message for message in messages if _is_of(by_name.get(message.get("queue", "")), message)]
            foreign += len(messages) - len(own)
            counted += sum(_deliver_leftover(database, by_name[message["queue"]], message) for message in own)
    if counted:
        say(f"delivered {counted} reports of a worker that had lost the database")
    if foreign:
        say(f"left out {foreign} reports of another study's worker")
    return counted


def _is_of(queue: TrialQueue | None, message: Message) -> bool:
    """Return whether a message was written for this queue's study; those of older versions don't name one."""
    return queue is not None and message.get("study", queue.identity) == queue.identity


def _deliver_leftover(database: Database, queue: TrialQueue, message: Message) -> bool:
    return database.retrying(partial(_deliver_held, database, queue, message))


def _deliver_held(database: Database, queue: TrialQueue, message: Message) -> bool:
    worker = json.dumps(message["worker"])
    holder = {"trial_id": message["trial_id"], "study_id": queue.study_id, "worker": worker}
    with database.engine.connect() as connection:
        held = connection.execute(HELD_BY, holder).scalar() is not None
    return held and deliver(database, queue, message)
