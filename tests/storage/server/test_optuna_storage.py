"""A database that this Optuna made is opened without alembic; any other is checked as Optuna does."""

import subprocess
import sys

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage

from storage.server.database import Database, connect
from storage.server.optuna_storage import _Unchecked, made_by_this_version, open_storage

OPEN = """
import sys
from storage.server.database import connect
database = connect(sys.argv[1])
assert database.storage.get_all_studies() == []
print("alembic.runtime.migration" in sys.modules)
database.close()
"""


def test_tables_of_this_version_are_opened_without_alembic(database: Database, database_url: str) -> None:
    done = subprocess.run([sys.executable, "-c", OPEN, database_url], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE version_info SET library_version = '4.0.0'",
        "UPDATE version_info SET schema_version = 1",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
    ],
)
def test_tables_of_another_version_are_checked_by_optuna(database: Database, database_url: str, change: str) -> None:
    engine = sa.create_engine(database.engine.url)
    with engine.begin() as connection:
        assert made_by_this_version(connection)
        connection.execute(sa.text(change))
        assert not made_by_this_version(connection)
        assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1  # the transaction goes on
    engine.dispose()
    connect(database_url).close()


def test_storage_without_the_check_has_all_that_optunas_own_has(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    with database.engine.connect() as connection:
        ours = open_storage(url, {}, connection)
    theirs = RDBStorage(url)
    assert isinstance(ours, _Unchecked)
    own = {name: value for name, value in vars(theirs).items() if name != "_version_manager"}
    assert vars(ours).keys() == own.keys()
    plain = {name for name, value in own.items() if value is None or isinstance(value, str | int | dict)}
    assert {n: vars(ours)[n] for n in plain} == {n: own[n] for n in plain} | {"skip_compatibility_check": True}
    study = optuna.create_study(storage=ours)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert optuna.load_study(study_name=study.study_name, storage=theirs).best_value == study.best_value
    for storage in (ours, theirs):
        storage.engine.dispose()
