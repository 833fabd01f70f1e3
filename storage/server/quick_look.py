"""Counts of a server's studies, by a few queries, within seconds, and without starting a server.

Only for hints such as shell completion; code that decides something reads the study itself.
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
"""Longest time to connect, and of a statement."""

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
class StudyCounts:
    """A study's name and counts."""

    name: str
    asked: int
    """Proxy trials asked for; 0 if the plan can't be read, or if hours or dollars end them."""
    proxies: int
    """Proxy trials that are complete or pruned."""
    running: int
    """Proxy trials that run."""
    confirmed: int
    """Confirmation runs that are complete."""
    to_confirm: int
    """Confirmation runs that run, or wait for a worker."""
    workers: int
    """Workers that have given a sign of life within a minute."""

    @property
    def over(self) -> bool:
        """Whether, by these counts, nothing is left to do."""
        return not self.running and not self.to_confirm and self.proxies >= max(1, self.asked)


def embedded_settings(folder: Path) -> dict[str, Any] | None:
    """Return psycopg2's settings to connect to the embedded server in this folder; None if it doesn't run."""
    try:
        (folder / "data" / "postmaster.pid").read_bytes()
        port = int(json.loads((folder / "server.json").read_text(encoding="utf-8"))["port"])
        password = (folder / "password").read_text(encoding="utf-8").strip()
    except (OSError, ValueError, KeyError):
        return None
    return {"host": "127.0.0.1", "port": port, "user": "lilm", "dbname": "lilm", "password": password}


def url_settings(url: str) -> dict[str, Any]:
    """Return psycopg2's settings to connect to a URL's server; raises `StorageError` for one that can't be used."""
    from storage.server.address import resolve

    address = resolve(url)
    parts = {"host": address.host, "port": address.port, "user": address.username, "dbname": address.database}
    parts["password"] = None if address.password is None else str(address.password)
    return {key: value for key, value in (parts | dict(address.query)).items() if value is not None}


def studies(settings: dict[str, Any]) -> list[StudyCounts]:
    """Return the studies on the server; raises psycopg2's errors, within seconds."""
    with _connected(settings) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('studies') IS NOT NULL AND to_regclass('lilm_workers') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return []
        cursor.execute(STUDIES)
        return [_study_counts(*row) for row in cursor.fetchall()]


@contextlib.contextmanager
def _connected(settings: dict[str, Any]) -> Iterator[Any]:
    options = f"-c statement_timeout={SECONDS}s -c lock_timeout={SECONDS}s"
    arguments = {"connect_timeout": SECONDS, "application_name": "lilm-search glance", **settings, "options": options}
    with contextlib.closing(psycopg2.connect(**arguments)) as connection:
        yield connection


def _study_counts(name: str, plan: str, *counts: int) -> StudyCounts:
    proxies, running_now, confirmed, to_confirm, workers = map(int, counts)
    try:
        proxy = tomllib.loads(json.loads(plan))["proxy"]
        asked = 0 if proxy.get("max_hours") or proxy.get("max_usd") else int(proxy["trials"])
    except (ValueError, KeyError, TypeError):
        asked = 0
    return StudyCounts(
        name=name,
        asked=asked,
        proxies=proxies,
        running=running_now,
        confirmed=confirmed,
        to_confirm=to_confirm,
        workers=workers,
    )
