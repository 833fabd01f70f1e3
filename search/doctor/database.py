"""Check of the study's server: whether it answers and admits this user, its connections, its clock, the login's end."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import sqlalchemy as sa

from search.common.durations import format_duration
from search.doctor.finding import Check, Finding, bad, note, ok
from storage.errors import DeniedError, EmbeddedError, LoginError, StorageError, UnreachableError
from storage.server.database import MOST_CONNECTIONS, OLDEST_SERVER, Database, refusal
from storage.server.embedded import START_SECONDS

Opening = Callable[[], AbstractContextManager[Database]]

CLOCK_SECONDS, WRONG_CLOCK_SECONDS = 5.0, 300.0
"""Differences of clocks from which they are a note, and a problem: certificates are refused, and times are wrong."""
SOON_SECONDS = 6 * 3600.0
"""Time before a login's end from which it is a note."""

# Without the connections reserved for superusers, since no worker is one.
CONNECTIONS = sa.text(
    """
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS most,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
           (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS own_most,
           (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user) AS own_used
    """
)
CLOCK = sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")
LOGIN = sa.text(
    """
    SELECT current_user AS name, extract(epoch FROM rolvaliduntil - now())::float8 AS seconds
    FROM pg_roles WHERE rolname = current_user AND rolvaliduntil IS NOT NULL AND isfinite(rolvaliduntil)
    """
)


def checks(opening: Opening, kind: str) -> list[Check]:
    """Return the check of the server, which findings call `kind`; an embedded one may have to be created first."""
    return [Check(name="database", look=lambda: look(opening, kind), seconds=3.0 * START_SECONDS)]


def look(opening: Opening, kind: str) -> Iterator[Finding]:
    """Connect, and check version, connections, clock and login."""
    try:
        with opening() as database:
            yield ok("database", f"{kind} {database.server_version()} answers")
            yield from _connections(database)
            yield from _clock(database)
            yield from login(database)
    except StorageError as error:
        yield of_error(error)
    except sa.exc.DBAPIError as error:
        yield of_error(refusal(error) or UnreachableError("the server went away while it was asked"))


def of_error(error: StorageError) -> Finding:
    """Return the finding for an error of the server, with its cure."""
    message = str(error)
    if "too many connections" in message or "connection slots" in message:
        cure = "end some clients; raise the server's max_connections, or `credential new --connections N`"
    elif "not proven to be that server" in message:
        cure = "export LILM_SEARCH_CA=/path/to/the/authority.crt (from the study's machine: docs/deploy.md)"
    elif isinstance(error, LoginError):
        cure = "lilm-search credential new --study STUDY (by the study's owner) makes another login"
    elif isinstance(error, UnreachableError):
        cure = "check host and port in LILM_SEARCH_STORAGE; on the server's machine: docker compose ps"
    elif isinstance(error, DeniedError):
        cure = "ask the study's owner, or use the owner's login"
    elif isinstance(error, EmbeddedError):
        cure = "export LILM_SEARCH_HOME=/a/folder/open/to/all, or name a server in LILM_SEARCH_STORAGE"
    elif "or later is needed" in message:
        cure = f"upgrade the server to PostgreSQL {OLDEST_SERVER} or later"
    else:
        return bad("database", message)
    return bad("database", message.split(". ")[0].rstrip("."), cure)


def _connections(database: Database) -> Iterator[Finding]:
    with database.engine.connect() as connection:
        row = connection.execute(CONNECTIONS).one()
    free = row.most - row.used
    own_free = row.own_most - row.own_used if row.own_most >= 0 else free
    left = min(free, own_free)
    room = max(0, left + 1) // MOST_CONNECTIONS  # this one is about to be closed
    if room < 1:
        whose = "our login" if own_free < free else "the server"
        most = row.own_most if own_free < free else row.most
        cure = "credential new --connections N" if own_free < free else "raise max_connections, or end some clients"
        yield bad("connections", f"{whose} admits {most}, of which {left} are free: no worker has room", cure)
    elif room < 8:
        yield note("connections", f"{left} are free: room for {room} more worker{'s' * (room != 1)}")
    else:
        yield ok("connections", f"{left} are free")


def _clock(database: Database) -> Iterator[Finding]:
    with database.autocommit() as connection:
        connection.execute(CLOCK)  # the first call on a connection takes longer
        before = time.time()
        server_time = float(connection.execute(CLOCK).scalar_one())
        after = time.time()
    yield of_clock(server_time - (before + after) / 2, (after - before) / 2)


def of_clock(ahead: float, sure: float) -> Finding:
    """Return the finding for a server's clock that is `ahead` seconds ahead of this machine's, ± `sure` seconds."""
    off = max(0.0, abs(ahead) - sure)
    if off < CLOCK_SECONDS:
        return ok("clock", "the server's and ours agree")
    which = "ahead of" if ahead > 0 else "behind"
    difference = f"the server's is {format_duration(off)} {which} ours"
    cure = "set both by the network: timedatectl set-ntp true"
    return (bad if off >= WRONG_CLOCK_SECONDS else note)("clock", difference, cure)


def login(database: Database) -> Iterator[Finding]:
    """Check whether the login ends, and when."""
    with database.engine.connect() as connection:
        row = connection.execute(LOGIN).one_or_none()
    if row is None:
        return
    cure = "lilm-search credential new --study STUDY --expires 48h (by the study's owner)"
    if row.seconds <= 0:
        yield bad("login", f"{row.name} has expired", cure)
    elif row.seconds < SOON_SECONDS:
        yield note("login", f"{row.name} ends in {format_duration(row.seconds)}", cure)
    else:
        yield ok("login", f"{row.name} is good for {format_duration(row.seconds)}")
