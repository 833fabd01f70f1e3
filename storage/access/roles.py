"""Credentials: a database role for each machine, for one study, with an end. Rights: `storage.access.row_rights`."""

import contextlib
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from psycopg2.extensions import encrypt_password

from storage.access import row_rights as rights
from storage.errors import DeniedError, StorageError
from storage.server.database import Database, refusal

CONNECTIONS = 6
"""Connections of a credential for each worker: its pool's MOST_CONNECTIONS, one while connecting, and some spare."""

MAY_MAKE_ROLES = sa.text("SELECT rolname, rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user")

CREATE = """
CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT
CONNECTION LIMIT {connections} VALID UNTIL '{expires}' PASSWORD '{verifier}' IN ROLE {group}
"""

ENTER = sa.text(
    "INSERT INTO lilm_credentials (study_id, role, name, expires) VALUES (:study_id, :role, :name, :expires)"
)

EXTEND = sa.text(
    """
    INSERT INTO lilm_credentials (study_id, role, name, created, expires)
    SELECT :other_id, role, name, created, expires FROM lilm_credentials WHERE study_id = :study_id
    ON CONFLICT DO NOTHING
    """
)

LISTED = sa.text(
    """
    SELECT c.role, c.name, min(c.created) AS created, min(c.expires) AS expires, min(s.study_name) AS study,
           bool_and(coalesce(r.rolcanlogin, false)) AS login, max(r.rolconnlimit) AS connection_limit,
           (SELECT count(*) FROM pg_stat_activity a WHERE a.usename = c.role) AS connections,
           (SELECT max(w.seen) FROM lilm_workers w WHERE w.role = c.role) AS seen,
           bool_or(c.expires <= now()) AS expired
    FROM lilm_credentials c JOIN studies s USING (study_id) LEFT JOIN pg_roles r ON r.rolname = c.role
    GROUP BY c.role, c.name ORDER BY min(c.created), c.role
    """
)

# Only sessions of roles that the caller may signal: for others the server would raise an error.
END_SESSIONS = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND pg_has_role(usesysid, 'USAGE') AND usename
"""
END_EXPIRED = sa.text(END_SESSIONS + "IN (SELECT role FROM lilm_credentials WHERE expires <= now())")
END_ONE = sa.text(END_SESSIONS + "= :role")


@dataclass(frozen=True, kw_only=True)
class NewCredential:
    """A new credential; its password is stored nowhere else."""

    role: str
    password: str
    expires: datetime
    gaps: Sequence[str]
    """What it can do beyond its study because others own the databases or schemas, with the cure, a sentence each."""


@dataclass(frozen=True, kw_only=True)
class Credential:
    """A credential on the server."""

    role: str
    name: str
    study: str
    created: datetime
    expires: datetime
    connections: int
    connection_limit: int | None
    seen: datetime | None
    """Time of the last sign of life of a worker with it, by the server's clock."""
    state: str
    """"valid", "expired", or "revoked" if its role can't log in any more."""


def new(
    database: Database,
    study_ids: Sequence[int],
    *,
    name: str,
    lifetime_seconds: float,
    connections: int = CONNECTIONS,
) -> NewCredential:
    """Create a role that may work on these studies only, for a lifetime.

    The password is only in the result: the server is sent its SCRAM verifier. Raises `DeniedError` if the user may
    not make roles or doesn't own the tables, `StorageError` if the name is in use or not allowed.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", name):
        raise StorageError(f"the credential's name is {name!r}, but must be 1 to 32 of a-z, 0-9, - and _")
    role, password = f"lilm_{name}_{secrets.token_hex(3)}", secrets.token_urlsafe(24)
    with _as_owner(database) as connection:
        if name in {c.name for c in _listed(connection)}:
            raise StorageError(f"a credential is named {name}; choose another --name, or revoke that one first")
        expires = connection.scalar(
            sa.text("SELECT now() + make_interval(secs => :seconds)"), {"seconds": lifetime_seconds}
        )
        groups = _groups(connection)
        rights.install(connection, groups)
        rights.close_databases(connection, groups)
        raw = connection.connection.driver_connection
        verifier = encrypt_password(password, role, scope=raw, algorithm="scram-sha-256")
        rights.run(
            connection,
            CREATE.format(
                role=rights.quoted(connection, role),
                group=rights.quoted(connection, groups[0]),
                connections=int(connections),
                expires=expires.isoformat(),
                verifier=verifier,
            ),
        )
        _let_owner_end_sessions(connection, role)
        for study_id in study_ids:
            entry = {"study_id": study_id, "role": role, "name": name, "expires": expires}
            connection.execute(ENTER, entry)
        return NewCredential(role=role, password=password, expires=expires, gaps=rights.gaps(connection, role))


def extend(database: Database, study_id: int, other_id: int) -> None:
    """Let the credentials of an Optuna study work on another too, until they end."""
    with database.engine.begin() as connection:
        connection.execute(EXTEND, {"study_id": study_id, "other_id": other_id})


def listed(database: Database) -> list[Credential]:
    """Return all credentials of the database, the oldest first; end the sessions of expired ones."""
    with database.engine.begin() as connection:
        end_expired(connection)
        return _listed(connection)


def revoke(database: Database, name: str) -> int:
    """End a credential, given its name or its role's, and its sessions; return the number of sessions.

    From the first statement on the credential is useless; if the rest fails, it may be repeated. Raises
    `StorageError` if there is no such credential, `DeniedError` if another owner made it.
    """
    with _as_owner(database) as connection:
        matching = [c for c in _listed(connection) if name in (c.name, c.role)]
        if not matching:
            names = ", ".join(c.name for c in _listed(connection)) or "none"
            raise StorageError(f"no credential is named {name}; there are: {names}")
        role = matching[0].role
        exists = bool(connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}))
        if exists:
            rights.run(connection, f"ALTER ROLE {rights.quoted(connection, role)} NOLOGIN")
    with _as_owner(database) as connection:
        ended = int(connection.scalar(END_ONE, {"role": role}) or 0)
        if exists:
            rights.run(connection, f"DROP ROLE {rights.quoted(connection, role)}")
        connection.execute(sa.text("DELETE FROM lilm_credentials WHERE role = :role"), {"role": role})
    return ended


def workers_of(database: Database, role: str) -> list[str]:
    """Return the names of the workers that have logged in with a role."""
    with database.engine.connect() as connection:
        names = connection.execute(sa.text("SELECT name FROM lilm_workers WHERE role = :role"), {"role": role})
        return list(names.scalars())


def end_expired(connection: sa.Connection) -> int:
    """End the sessions of expired credentials, if the caller may; return how many.

    Such sessions can't use any study any more, but hold connections and locks. Any user may call it.
    """
    return int(connection.scalar(END_EXPIRED) or 0)


@contextlib.contextmanager
def _as_owner(database: Database) -> Iterator[sa.Connection]:
    """Yield a transaction, under a lock, of a user who may make roles; raise a refusal as a `StorageError`."""
    try:
        with database.lock("lilm-search/credentials"), database.engine.begin() as connection:
            user, may = connection.execute(MAY_MAKE_ROLES).one()
            if not may:
                raise DeniedError(
                    f'the database user {user} may not make roles; as a superuser: ALTER ROLE "{user}" CREATEROLE'
                )
            yield connection
    except sa.exc.DBAPIError as error:
        raise refusal(error) or error from None


# Groups that have rights on this database's tables, also from before it was renamed or restored.
GROUPS = sa.text(
    """
    SELECT rolname FROM pg_class, aclexplode(relacl), pg_roles
    WHERE pg_class.oid = 'studies'::regclass AND pg_roles.oid = grantee AND starts_with(rolname, :prefix)
    GROUP BY rolname ORDER BY rolname <> :own, rolname
    """
)
OWN_GROUP = sa.text("SELECT concat(:prefix ::text, oid) FROM pg_database WHERE datname = current_database()")


def _groups(connection: sa.Connection) -> list[str]:
    """Return the groups that hold rights on this database, after creating one if there is none.

    New credentials join the first. Its name has the database's oid, since roles belong to the whole server, and a
    database may be renamed.
    """
    own = connection.execute(OWN_GROUP, {"prefix": rights.GROUPS}).scalar_one()
    if groups := connection.execute(GROUPS, {"prefix": rights.GROUPS, "own": own}).scalars().all():
        return list(groups)
    if not connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": own}):
        rights.run(connection, f"CREATE ROLE {rights.quoted(connection, own)} NOLOGIN NOINHERIT")
    return [own]


def _let_owner_end_sessions(connection: sa.Connection, role: str) -> None:
    """Make the owner a member of the role, as ending its sessions requires; the owner gains no other right."""
    if not connection.scalar(sa.text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
        rights.run(connection, f"GRANT {rights.quoted(connection, role)} TO CURRENT_USER")


def _listed(connection: sa.Connection) -> list[Credential]:
    credentials = []
    for row in connection.execute(LISTED).mappings():
        state = "revoked" if not row["login"] else "expired" if row["expired"] else "valid"
        columns = {k: v for k, v in row.items() if k not in ("login", "expired")}
        credentials.append(Credential(**columns, state=state))
    return credentials
