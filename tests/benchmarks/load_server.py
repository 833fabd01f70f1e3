"""What the server does while it is measured: sessions, locks waited for, processor time."""

import contextlib
import os
import time
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from storage.server.database import parse_url
from tests.chaos.server import Server

SESSIONS = sa.text(
    """
    SELECT count(*), count(*) FILTER (WHERE state = 'active' AND wait_event_type = 'Lock'),
           count(*) FILTER (WHERE state = 'active' AND wait_event_type IS NULL)
    FROM pg_stat_activity WHERE datname = :name AND backend_type = 'client backend'
    """
)
COUNTED = sa.text("SELECT active_time / 1000, xact_commit FROM pg_stat_database WHERE datname = :name")


class Observer:
    """Looks at the server from a connection to another database."""

    def __init__(self, postgres: Server, name: str) -> None:
        self._url, self._name, self._postgres = parse_url(postgres.ensure_running()), {"name": name}, postgres
        self.sessions: list[tuple[int, int, int]] = []
        """All, those that wait for a lock, those at work, at each look."""

    def observe(self, seconds: float) -> dict[str, float]:
        """Look for so long; returns what the server did meanwhile."""
        with sa.create_engine(self._url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT").connect() as connection:
            before, cpu = connection.execute(COUNTED, self._name).one(), self._cpu_seconds()
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                self.sessions.append(tuple(connection.execute(SESSIONS, self._name).one()))
                time.sleep(min(0.5, seconds / 10))
            after = connection.execute(COUNTED, self._name).one()
            looked = np.array(self.sessions, dtype=float)
            return {
                "connections": float(looked[:, 0].max()),
                "waiting": float(looked[:, 1].mean()),
                "working": float(looked[:, 2].mean()),
                "active_seconds": after[0] - before[0],
                "commits": after[1] - before[1],
                "server_cpu": self._cpu_seconds() - cpu,
            }

    def _cpu_seconds(self) -> float:
        """Return the CPU seconds of the server's processes, those included that have ended."""
        tick = os.sysconf("SC_CLK_TCK")
        master = self._postgres.pid()
        fields = {p: _stat(p) for p in [master, *_children(master)]}
        own = sum(int(f[11]) + int(f[12]) for f in fields.values() if f)
        return (own + int(fields[master][13]) + int(fields[master][14])) / tick


def _stat(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
