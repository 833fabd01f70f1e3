"""Who works on a study: each worker enters itself, is seen again and again, and leaves.

Only the server's clock counts, so that hours, and what they cost, don't depend on the clocks of rented machines.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from storage.server.database import Database
from storage.server.periodic import Repeated

SEEN_SECONDS = 20.0
LEAVE_SECONDS = 3.0

# Names end in a token, so that one that is here already is this worker, whose first answer was lost.
ENTER = sa.text(
    """
    INSERT INTO lilm_workers (study_id, name, machine, launch, device, reference, usd_per_hour, started, seen)
    VALUES (:study_id, :name, :machine, :launch, :device, :reference, :usd_per_hour, now(), now())
    ON CONFLICT DO NOTHING
    """
)

SEEN = sa.text("UPDATE lilm_workers SET seen = now() WHERE study_id = :study_id AND name = :name AND ended IS NULL")

ENDED = sa.text(
    """
    UPDATE lilm_workers SET seen = now(), ended = now()
    WHERE study_id = :study_id AND name = :name AND ended IS NULL
    """
)

MEASURED = sa.text("UPDATE lilm_workers SET reference = :reference WHERE study_id = :study_id AND name = :name")

# What was known dead is not paid for any longer than it was seen.
GIVEN_UP = sa.text("UPDATE lilm_workers SET ended = seen WHERE study_id = :study_id AND name = :name AND ended IS NULL")

# A worker counts until its end; without one until now, or, silent for longer than the grace, until it was last seen.
WORKERS = sa.text(
    """
    SELECT name, machine, launch, device, reference, usd_per_hour,
           CASE WHEN ended IS NOT NULL THEN 'ended'
                WHEN seen < now() - make_interval(secs => :grace_seconds) THEN 'dead' ELSE 'alive' END AS state,
           extract(epoch FROM now() - seen)::float8 AS silent_seconds,
           extract(epoch FROM started)::float8 AS started,
           extract(epoch FROM now())::float8 AS now,
           extract(epoch FROM CASE
               WHEN ended IS NOT NULL THEN ended
               WHEN seen < now() - make_interval(secs => :grace_seconds) THEN seen
               ELSE now() END - started)::float8 AS paid_seconds
    FROM lilm_workers WHERE study_id = :study_id ORDER BY lilm_workers.started, name
    """
)

NOW = sa.text("SELECT extract(epoch FROM now())::float8")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A worker as the registry knows it."""

    name: str
    machine: str
    """Host name of the machine."""
    launch: str
    """What rented the machine, by its name there; empty where nobody said."""
    device: str
    reference: float | None
    """Throughput of the reference step, tokens per second."""
    usd_per_hour: float
    state: str
    """alive, dead (silent for longer than the grace) or ended."""
    silent_seconds: float
    """Since its last sign of life."""
    started: float
    """Seconds since 1970, as `now`, by the server."""
    now: float
    paid_seconds: float
    """From its start to its end, to now while alive, or to its last sign of life."""

    @property
    def alive(self) -> bool:
        """Whether it works, or could."""
        return self.state == "alive"

    @property
    def usd(self) -> float:
        """Dollars so far."""
        return self.paid_seconds / 3600 * self.usd_per_hour


class Registry:
    """The workers of one study. Every call is one statement; who loses its answer may call again.

    Args:
        database: where the study is.
        study: the Optuna study, which must exist, by its number or its name.
        grace_seconds: silence after which a worker is taken for dead.

    """

    def __init__(self, database: Database, study: int | str, *, grace_seconds: float) -> None:
        self._database, self._grace_seconds = database, max(grace_seconds, 2 * SEEN_SECONDS)
        self._study_id = database.storage.get_study_id_from_name(study) if isinstance(study, str) else study

    def enter(
        self,
        name: str,
        *,
        machine: str,
        device: str,
        usd_per_hour: float,
        launch: str = "",
        reference: float | None = None,
    ) -> None:
        """Enter a worker, whose name is its own; one that has entered already stays as it is."""
        facts = {"machine": machine, "launch": launch, "device": device, "reference": reference}
        self._execute(ENTER, name, usd_per_hour=usd_per_hour, **facts)

    def seen(self, name: str) -> bool:
        """Record a sign of life; returns False where the worker is recorded as ended, or unknown."""
        return self._execute(SEEN, name)

    def measured(self, name: str, reference: float) -> bool:
        """Record the throughput of a worker's reference step; returns False where it never entered."""
        return self._execute(MEASURED, name, reference=reference)

    def end(self, name: str) -> bool:
        """Record that a worker ended now, by itself."""
        return self._execute(ENDED, name)

    def give_up(self, name: str) -> bool:
        """Record that a worker has ended, when it was last seen."""
        return self._execute(GIVEN_UP, name)

    def entries(self) -> list[Entry]:
        """Return every worker there ever was, in the order of their starts."""
        with self._database.engine.connect() as connection:
            given = {"study_id": self._study_id, "grace_seconds": self._grace_seconds}
            rows = connection.execute(WORKERS, given).mappings().all()
        return [Entry(**row) for row in rows]

    def now(self) -> float:
        """Return the server's time in seconds since 1970."""
        with self._database.engine.connect() as connection:
            return float(connection.execute(NOW).scalar_one())

    def _execute(self, statement: sa.TextClause, name: str, **values: Any) -> bool:
        with self._database.engine.begin() as connection:
            done = connection.execute(statement, {"study_id": self._study_id, "name": name, **values})
        return bool(done.rowcount)


class Presence(Repeated):
    """Signs of life of one worker while the block runs, and its end.

    A server that doesn't answer at the end is not waited for long: silence says it too.
    """

    def __init__(self, registry: Registry, name: str, *, interval_seconds: float = SEEN_SECONDS) -> None:
        leave = partial(registry.end, name)
        super().__init__("presence", interval_seconds, at_end=leave, join_seconds=LEAVE_SECONDS)
        self._registry, self._name = registry, name

    def _call(self) -> bool:
        self._registry.seen(self._name)
        return True
