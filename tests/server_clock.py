"""A server whose clock a test sets: `now()` in our statements is what it says."""

import sqlalchemy as sa

from storage.server.database import Database


class ServerClock:
    """Seconds since the test began; only what says `now()` without a schema follows, and Optuna's own doesn't."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._execute(
            "CREATE SCHEMA aged",
            "CREATE TABLE aged.clock AS SELECT 0.0::float8 AS passed, pg_catalog.now() AS began",
            "CREATE FUNCTION aged.now() RETURNS timestamptz LANGUAGE sql STABLE "
            "AS $$SELECT began + make_interval(secs => passed) FROM aged.clock$$",
        )
        with database.engine.connect() as connection:
            name = connection.execute(sa.text("SELECT current_database()")).scalar_one()
        self._execute(f'ALTER DATABASE "{name}" SET search_path = aged, pg_catalog, public')
        database.engine.dispose()

    def set(self, seconds: float) -> None:
        """Let it be so many seconds after the beginning."""
        self._execute(f"UPDATE aged.clock SET passed = {seconds}")

    def _execute(self, *statements: str) -> None:
        with self._database.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))
