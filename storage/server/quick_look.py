"""A glance at a server's studies, by a few plain queries: quick, bounded in time, and starting nothing.

For what is said by the way, completion in a shell say; whatever decides something reads the study itself.
"""

import contextlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

SECONDS = 2
"""That connecting, and a statement, may take."""

# A study of ours is the one with a plan; its confirmation runs are in a study named after it that bears the same
# identity. Where either bears none, of an older version, it is the one that was made later.
STUDIES = """
SELECT s.study_name, plan.value_json,
       coalesce(sum((t.state IN ('COMPLETE', 'PRUNED'))::int), 0),
       coalesce(sum((t.state = 'RUNNING')::int), 0),
       coalesce((SELECT sum((r.state = 'COMPLETE')::int) FROM trials r WHERE r.study_id = half.study_id), 0),
       coalesce((SELECT sum((r.state IN ('RUNNING', 'WAITING'))::int) FROM trials r
                 WHERE r.study_id = half.study_id), 0),
       (SELECT count(*) FROM lilm_workers w
        WHERE w.study_id = s.study_id AND w.ended IS NULL AND w.seen > now() - interval '60 seconds')
FROM studies s
JOIN study_user_attributes plan ON plan.study_id = s.study_id AND plan.key = 'plan'
LEFT JOIN LATERAL (
    SELECT c.study_id FROM studies c
    LEFT JOIN study_user_attributes mine ON mine.study_id = s.study_id AND mine.key = 'id'
    LEFT JOIN study_user_attributes its ON its.study_id = c.study_id AND its.key = 'id'
    WHERE c.study_name = s.study_name || '-confirm'
      AND coalesce(mine.value_json = its.value_json, c.study_id > s.study_id)
) AS half ON TRUE
LEFT JOIN trials t ON t.study_id = s.study_id
GROUP BY s.study_id, s.study_name, plan.value_json, half.study_id ORDER BY s.study_id
"""


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """A study as a few counts."""

    name: str
    asked: int
    """Proxy trials asked for; 0 where the plan doesn't say."""
    proxies: int
    """Those that have ended well or were pruned."""
    running: int
    confirmed: int
    """Confirmation runs that have ended well."""
    to_confirm: int
    """Those that run, or wait for a worker."""
    workers: int
    """That have shown themselves within a minute."""

    @property
    def over(self) -> bool:
        """Whether nothing is known to be left to do."""
        return not self.running and not self.to_confirm and self.proxies >= max(1, self.asked)


def running(folder: Path) -> dict[str, Any] | None:
    """Return how to connect to the embedded server in this folder; None where there is none, or it doesn't run."""
    try:
        (folder / "data" / "postmaster.pid").read_bytes()
        port = int(json.loads((folder / "server.json").read_text(encoding="utf-8"))["port"])
        password = (folder / "password").read_text(encoding="utf-8").strip()
    except (OSError, ValueError, KeyError):
        return None
    return {"host": "127.0.0.1", "port": port, "user": "lilm", "dbname": "lilm", "password": password}


def elsewhere(url: str) -> dict[str, Any]:
    """Return how to connect to the server of a URL; raises `StorageError` for one that can't be used."""
    from storage.server.address import settled

    address = settled(url)
    parts = {"host": address.host, "port": address.port, "user": address.username, "dbname": address.database}
    parts["password"] = None if address.password is None else str(address.password)
    return {key: value for key, value in (parts | dict(address.query)).items() if value is not None}


def studies(where: dict[str, Any]) -> list[Glimpse]:
    """Return the studies of ours that the server holds; raises psycopg2's errors, none of which waits for long."""
    with _connected(where) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('studies') IS NOT NULL AND to_regclass('lilm_workers') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return []
        cursor.execute(STUDIES)
        return [_glimpse(*row) for row in cursor.fetchall()]


@contextlib.contextmanager
def _connected(where: dict[str, Any]) -> Iterator[Any]:
    options = f"-c statement_timeout={SECONDS}s -c lock_timeout={SECONDS}s"
    given = {"connect_timeout": SECONDS, "application_name": "lilm-search glance", **where, "options": options}
    with contextlib.closing(psycopg2.connect(**given)) as connection:
        yield connection


def _glimpse(name: str, plan: str, *counts: int) -> Glimpse:
    proxies, running_now, confirmed, to_confirm, workers = map(int, counts)
    try:
        asked = int(tomllib.loads(json.loads(plan))["proxy"]["trials"])
    except (ValueError, KeyError, TypeError):
        asked = 0
    return Glimpse(
        name=name,
        asked=asked,
        proxies=proxies,
        running=running_now,
        confirmed=confirmed,
        to_confirm=to_confirm,
        workers=workers,
    )
