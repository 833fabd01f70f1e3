"""Optuna's storage, opened without alembic if its tables are known to be this version's.

Optuna asks alembic for the tables' version at each opening, and importing alembic takes a quarter of the time in which
a command that only looks at a study could answer.
"""

from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import SCHEMA_VERSION
from sqlalchemy import exc, orm

_MADE_BY = sa.text("SELECT v.library_version, v.schema_version FROM version_info v, alembic_version")


def open_storage(url: str, engine_options: dict[str, Any], connection: sa.Connection) -> RDBStorage:
    """Return Optuna's storage; create missing tables, and check others unless this version made them.

    Args:
        url: the address as Optuna's template takes it, braces doubled.
        engine_options: options of the storage's engine.
        connection: connection to the same database.

    """
    if made_by_this_version(connection):
        return _Unchecked(url, engine_options)
    return RDBStorage(url, engine_kwargs=engine_options)


def made_by_this_version(connection: sa.Connection) -> bool:
    """Return whether the installed version of Optuna made or upgraded the database's tables."""
    try:
        with connection.begin_nested():
            row = connection.execute(_MADE_BY).one_or_none()
    except exc.ProgrammingError:  # there are no tables yet
        return False
    return row is not None and tuple(row) == (optuna.__version__, SCHEMA_VERSION)


class _Unchecked(RDBStorage):
    """The storage as its own constructor makes it, without the check of the tables."""

    def __init__(self, url: str, engine_kwargs: dict[str, Any]) -> None:
        self.engine_kwargs = engine_kwargs
        self.url = self._fill_storage_url_template(url)
        self.skip_compatibility_check = True
        self.heartbeat_interval = self.grace_period = None
        self.heartbeat_stale_trial_callback = self.failed_trial_callback = None
        self.engine = sa.create_engine(self.url, **engine_kwargs)
        self.scoped_session = orm.scoped_session(orm.sessionmaker(bind=self.engine))
