"""Attributes written at once, and turns that one of many has."""

from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
import sqlalchemy as sa

from storage.registry.study_attributes import take_turn, write_attributes
from storage.server.database import Database, connect

KEY = "dashboard:turn"


@pytest.fixture
def study(database: Database) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=database.storage)


def test_what_is_written_at_once_is_what_optuna_reads(database: Database, study: optuna.Study) -> None:
    database.storage.set_study_system_attr(study._study_id, "old", 1)
    given = {"old": "new", "list": [1, None, "ä'\"\\"], "empty": "", "number": 1.5, "%(x)s": ":y"}
    with database.engine.begin() as connection:
        write_attributes(connection, study._study_id, given)
        write_attributes(connection, study._study_id, {})
    assert database.storage.get_study_system_attrs(study._study_id) == given


def set_turn(database: Database, study: optuna.Study, value: str) -> None:
    with database.engine.begin() as connection:
        connection.execute(
            sa.text(f"UPDATE study_system_attributes SET value_json = {value} WHERE key = :key"), {"key": KEY}
        )


def test_a_turn_comes_again_after_its_seconds(database: Database, study: optuna.Study) -> None:
    assert take_turn(database, study._study_id, KEY, 60)
    assert not take_turn(database, study._study_id, KEY, 60)
    set_turn(database, study, "floor(extract(epoch FROM now()) - 59)::text")
    assert not take_turn(database, study._study_id, KEY, 90)
    assert take_turn(database, study._study_id, KEY, 30)


@pytest.mark.parametrize("value", ["'nonsense'", "'99999999999'", "'-1'", "'NaN'", "'1e400'", "repeat('9', 400)"])
def test_no_value_stops_everybody_for_good(database: Database, study: optuna.Study, value: str) -> None:
    assert take_turn(database, study._study_id, KEY, 60)
    set_turn(database, study, value)
    assert take_turn(database, study._study_id, KEY, 60)
    assert not take_turn(database, study._study_id, KEY, 60)


def test_of_many_who_ask_at_once_one_has_the_turn(database_url: str) -> None:
    opened = [connect(database_url) for _ in range(6)]
    study = optuna.create_study(study_name="s", storage=opened[0].storage)
    with ThreadPoolExecutor(len(opened)) as pool:
        turns = list(pool.map(lambda d: take_turn(d, study._study_id, KEY, 60), opened))
    assert sorted(turns) == [False] * 5 + [True]
    for database in opened:
        database.close()
