"""The workers of a study: each registers itself, records again and again that it is alive, and records its end.

Only the server's clock counts, so that hours, and what they cost, don't depend on the clocks of rented machines.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from storage.server.database import Database
from storage.server.periodic import PeriodicThread

SEEN_SECONDS = 20.0
"""Seconds between a worker's signs of life."""
LEAVE_SECONDS = 3.0
"""Seconds to wait, at a worker's end, for the server to record it."""

# Names end in a token: one that is registered already is this worker's, whose first answer was lost.
REGISTER = sa.text(
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

# A dead worker is paid for until it was last seen.
LOST = sa.text("UPDATE lilm_workers SET ended = seen WHERE study_id = :study_id AND name = :name AND ended IS NULL")

# A worker is paid for until its end; without one until now, or until it was last seen if silent beyond the grace time.
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
class RegisteredWorker:
    """A worker in the registry."""

    name: str
    machine: str
    """Host name of the machine."""
    launch: str
    """Name of the rented machine; empty if it wasn't rented."""
    device: str
    reference: float | None
    """Throughput of the reference step, tokens per second."""
    usd_per_hour: float
    state: str
    """"alive", "dead" (silent for longer than the grace time) or "ended"."""
    silent_seconds: float
    """Seconds since its last sign of life."""
    started: float
    """Time of its start, in seconds since 1970 by the server's clock."""
    now: float
    """Time of reading, likewise."""
    paid_seconds: float
    """Seconds from its start to its end, to now while alive, or to its last sign of life if dead."""

    @property
    def alive(self) -> bool:
        """Whether it gives signs of life."""
        return self.state == "alive"

    @property
    def usd(self) -> float:
        """Dollars that it has cost so far."""
        return self.paid_seconds / 3600 * self.usd_per_hour


class Registry:
    """The workers of one study. Every call is one statement, and may be repeated if its answer is lost.

    Args:
        database: database of the study.
        study: id or name of the Optuna study, which must exist.
        grace_seconds: seconds of silence after which a worker is taken for dead.

    """

    def __init__(self, database: Database, study: int | str, *, grace_seconds: float) -> None:
        self._database, self._grace_seconds = database, max(grace_seconds, 2 * SEEN_SECONDS)
        self._study_id = database.storage.get_study_id_from_name(study) if isinstance(study, str) else study

    def register(
        self,
        name: str,
        *,
        machine: str,
        device: str,
        usd_per_hour: float,
        launch: str = "",
        reference: float | None = None,
    ) -> None:
        """Register a worker under its unique name; one that is registered already stays as it is."""
        columns = {"machine": machine, "launch": launch, "device": device, "reference": reference}
        self._execute(REGISTER, name, usd_per_hour=usd_per_hour, **columns)

    def seen(self, name: str) -> bool:
        """Record a sign of life; return False if the worker is recorded as ended, or unknown."""
        return self._execute(SEEN, name)

    def measured(self, name: str, reference: float) -> bool:
        """Record the throughput of a worker's reference step, in tokens/s; return False if it never registered."""
        return self._execute(MEASURED, name, reference=reference)

    def end(self, name: str) -> bool:
        """Record that a worker ended now; return False if it has ended before, or is unknown."""
        return self._execute(ENDED, name)

    def give_up(self, name: str) -> bool:
        """Record that a lost worker ended when it was last seen; return as `end`."""
        return self._execute(LOST, name)

    def workers(self) -> list[RegisteredWorker]:
        """Return all workers, ended ones included, in the order of their starts."""
        with self._database.engine.connect() as connection:
            values = {"study_id": self._study_id, "grace_seconds": self._grace_seconds}
            rows = connection.execute(WORKERS, values).mappings().all()
        return [RegisteredWorker(**row) for row in rows]

    def now(self) -> float:
        """Return the server's time in seconds since 1970."""
        with self._database.engine.connect() as connection:
            return float(connection.execute(NOW).scalar_one())

    def _execute(self, statement: sa.TextClause, name: str, **values: Any) -> bool:
        with self._database.engine.begin() as connection:
            result = connection.execute(statement, {"study_id": self._study_id, "name": name, **values})
        return bool(result.rowcount)


class WorkerHeartbeat(PeriodicThread):
    """Records one worker's signs of life while the block runs, and its end.

    It doesn't wait long for a server that is away at the end: the worker's silence shows it too.
    """

    def __init__(self, registry: Registry, name: str, *, interval_seconds: float = SEEN_SECONDS) -> None:
        leave = partial(registry.end, name)
        super().__init__("worker's heartbeat", interval_seconds, at_end=leave, join_seconds=LEAVE_SECONDS)
        self._registry, self._name = registry, name

    def _call(self) -> bool:
        self._registry.seen(self._name)
        return True
