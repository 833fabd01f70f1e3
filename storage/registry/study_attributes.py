"""Many of a study's system attributes in one statement, and turns of workers at refreshing them."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from storage.server.database import Database

# In the order of keys, so that two writers can't deadlock.
WRITE = sa.text(
    """
    INSERT INTO study_system_attributes (study_id, key, value_json)
    SELECT :study_id, key, value_json
    FROM unnest(CAST(:keys AS text[]), CAST(:values AS text[])) AS given (key, value_json) ORDER BY key
    ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json
    """
)

# A time that the server's clock can't have written counts as long past, so that no worker can stop the others for good.
TURN = sa.text(
    r"""
    INSERT INTO study_system_attributes AS there (study_id, key, value_json)
    VALUES (:study_id, :key, CAST(floor(extract(epoch FROM now())) AS text))
    ON CONFLICT (study_id, key) DO UPDATE SET value_json = excluded.value_json
    WHERE CASE WHEN there.value_json ~ '^\d{1,11}$' THEN CAST(there.value_json AS numeric)
        NOT BETWEEN extract(epoch FROM now()) - :seconds AND extract(epoch FROM now()) + 1 ELSE true END
    RETURNING key
    """
)


def write_attributes(connection: sa.Connection, study_id: int, attributes: Mapping[str, Any]) -> None:
    """Set system attributes of a study, in the connection's transaction: all of them or none."""
    if attributes:
        keys, values = list(attributes), [json.dumps(v) for v in attributes.values()]
        connection.execute(WRITE, {"study_id": study_id, "keys": keys, "values": values})


def take_turn(database: Database, study_id: int, key: str, seconds: float) -> bool:
    """Take a turn if the last one was more than this many seconds ago, by the server's clock; return whether it was.

    Only one of several callers gets the turn. The attribute `key` holds its time.
    """
    with database.autocommit() as connection:
        turn = connection.execute(TURN, {"study_id": study_id, "key": key, "seconds": seconds})
        return turn.first() is not None
