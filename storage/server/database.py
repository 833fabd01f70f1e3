"""A connection to the study's Postgres: small pool, dead servers noticed, passwords never shown."""

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import optuna
import psycopg2
import sqlalchemy as sa
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import NOT_FOUND_MSG
from sqlalchemy import exc

from storage.errors import BusyError, DeniedError, GoneError, LoginError, StorageError, UnreachableError, first_line
from storage.redaction import redact
from storage.server import tables as schema
from storage.server.address import CA, settled
from storage.server.address import parse_url as parse_url
from storage.server.backoff import backoff
from storage.server.limits import limit
from storage.server.optuna_storage import open_storage

T = TypeVar("T")
STATEMENT_SECONDS = 60
LOCK_SECONDS = 55
"""Less than a statement may take, or the server would end the wait as a statement that took too long."""
LOCK_IDLE_SECONDS = 120
"""Who holds a lock and is silent for longer, a stopped process say, loses it."""
ATOMIC_IDLE_SECONDS = 30
LOCK_MOST_SECONDS = 120
"""Who holds a lock for longer, at work or not, loses it too, where the server is PostgreSQL 17 or later."""
OLDEST_SERVER = 13
PASSING = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, exc.PendingRollbackError)
"""Errors of a server that restarts or a network that breaks; the same call may succeed later."""
PASSING_CODES = ("25006", "25P03", "25P04")
"""So too: read-only for the moment, and a transaction that the server ended: we had been silent in it, or too long."""

MOST_CONNECTIONS = 3
"""Of one process: two locks, one inside the other, and one for what is done under them and by other threads."""

_SESSION = {
    "timezone": "UTC",  # Optuna compares heartbeats in the session's zone
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",  # else a vanished client would hold the study's row for ever
    "tcp_keepalives_idle": "10",  # and the locks that it holds idle on purpose: the server, too, asks who is there
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


def connect(url: str, *, application_name: str = "lilm-search") -> "Database":
    """Open a study database, creating Optuna's tables and ours where they are missing.

    The URL may be file:PATH, which holds one (see `storage.server.address.settled`). Raises `StorageError` for a URL
    that isn't PostgreSQL's, `UnreachableError` where no server answers, `LoginError` where it refuses the user, the
    password or the database, `DeniedError` where the user lacks a right.
    """
    address = settled(url)
    shown = address.set(drivername="postgresql", query={}).render_as_string()
    options = _engine_options(application_name)
    first = sa.create_engine(address, poolclass=sa.NullPool, connect_args=options["connect_args"])
    try:
        _check_server(first, shown)
        with _advisory_lock(first, "lilm-search/schema", LOCK_IDLE_SECONDS) as connection:
            url = address.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
            storage = open_storage(url, options, connection)
            schema.create(storage.engine)
    except exc.DBAPIError as error:
        raise _explain(error, shown) from None
    except optuna.exceptions.StorageInternalError as error:
        raise refusal(error) or StorageError(f"{shown}: {redact(str(error.__cause__ or error))}") from None
    return Database(storage)


def _engine_options(application_name: str) -> dict[str, Any]:
    options = " ".join(f"-c {key}={value}" for key, value in _SESSION.items())
    keepalives = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
    return {
        "pool_size": 2,
        "max_overflow": MOST_CONNECTIONS - 2,
        "pool_use_lifo": True,
        "pool_timeout": 30,
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": 10,
            "tcp_user_timeout": 15_000,
            "application_name": application_name,
            "options": options,
            **keepalives,
        },
    }


def _check_server(engine: sa.Engine, shown: str) -> None:
    with engine.connect() as connection:
        number = int(connection.execute(sa.text("SHOW server_version_num")).scalar_one())
    if number < OLDEST_SERVER * 10_000:
        raise StorageError(f"{shown} is PostgreSQL {number // 10_000}, but {OLDEST_SERVER} or later is needed")


def _explain(error: exc.DBAPIError, shown: str) -> StorageError:
    text = str(error.orig).strip()
    if "password authentication failed" in text or "no password supplied" in text:
        return LoginError(
            f"{shown} refuses the login: wrong user or password, or the credential has expired or was revoked. "
            "Check them in the URL or its file; `lilm-search credential new` makes another credential"
        )
    if "certificate" in text or "SSL" in text.split("pg_hba.conf")[0]:
        return LoginError(
            f"{shown} is not proven to be that server: {_reason(error)}. Name the authority of its certificate "
            f"with sslrootcert=FILE in the URL, or in {CA}"
        )
    if re.search(r'role ".*" does not exist|role ".*" is not permitted to log in|pg_hba.conf', text):
        return LoginError(f"{shown} refuses the user: {_reason(error)}")
    if re.search(r'database ".*" does not exist', text):
        return LoginError(f"{shown}: {_reason(error)}. Create it first: createdb NAME")
    if refused := refusal(error):
        return refused
    if isinstance(error, exc.OperationalError):
        return UnreachableError(f"{shown} can't be reached: {_reason(error)}. Check host and port, and that it runs.")
    return StorageError(f"{shown}: {_reason(error)}")


def refusal(error: BaseException | None) -> StorageError | None:
    """Return what to tell the user where the database refused a right or a login, or the study is gone; else None."""
    while isinstance(error, optuna.exceptions.StorageInternalError):
        error = error.__cause__
    orphaned = isinstance(error, exc.IntegrityError) and isinstance(error.orig, psycopg2.errors.ForeignKeyViolation)
    if orphaned or (isinstance(error, KeyError) and error.args == (NOT_FOUND_MSG,)):
        return GoneError(GONE)
    if not isinstance(error, exc.DBAPIError):
        return None
    said = redact(_reason(error))
    if isinstance(error.orig, psycopg2.errors.InsufficientPrivilege):
        return DeniedError(f"the database user may not do this: {said}. Ask the study's owner, or run it as the owner")
    if isinstance(error.orig, psycopg2.errors.InvalidAuthorizationSpecification) or _REFUSED.search(said):
        return LoginError(f"the database refuses the login: {said}. Ask for another: `lilm-search credential new`")
    return None


GONE = (
    "the study, or a half of it, was deleted from the database meanwhile: nothing more is written. "
    "`lilm-search` alone lists what is left"
)
_REFUSED = re.compile(r'password authentication failed|role ".*" (does not exist|is not permitted to log in)')


def _reason(error: exc.DBAPIError) -> str:
    """Return what the server said, in one line, without which address it was."""
    line = first_line(error.orig or error)
    return re.sub(r"^connection to server at .*? failed: (?:FATAL:\s*)?", "", line).removeprefix("FATAL:").strip()


@contextlib.contextmanager
def _advisory_lock(engine: sa.Engine, name: str, idle_seconds: float) -> Iterator[sa.Connection]:
    """Hold a lock that every process on this database respects; it ends with its transaction, come what may."""
    with engine.begin() as connection:
        try:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
        except exc.OperationalError as error:
            if isinstance(error.orig, psycopg2.errors.LockNotAvailable):
                raise BusyError(
                    f'waited {LOCK_SECONDS} s for the lock "{name}"; another process holds it: see `lilm-search doctor`'
                ) from None
            raise
        limit(connection, idle_seconds=idle_seconds, whole_seconds=LOCK_MOST_SECONDS)
        yield connection


def is_passing(error: BaseException) -> bool:
    """Return whether a failed database call may succeed later: the server restarts, the network is cut."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    if refusal(cause) is not None:
        return False
    if isinstance(cause, exc.DBAPIError) and getattr(cause.orig, "pgcode", None) in PASSING_CODES:
        return True
    cut = isinstance(cause, exc.DBAPIError) and cause.connection_invalidated
    return cut or isinstance(cause, (*PASSING, BusyError))


class Database:
    """A study database. `storage` is what Optuna's studies are made with; `engine` is for our own queries."""

    def __init__(self, storage: RDBStorage) -> None:
        self.engine = storage.engine
        self.uncached = storage
        """Optuna's storage for what isn't committed yet, which must not be remembered."""
        self.storage: BaseStorage = optuna.storages.get_storage(storage)  # cached: finished trials are read once
        self._locking = threading.RLock()

    @contextlib.contextmanager
    def alone(self) -> Iterator[sa.Connection]:
        """Make each statement a transaction by itself, in one round trip.

        SQLAlchemy's own AUTOCOMMIT asks the server once more when the connection is given back; where that is cut,
        the connection never returns, and the pool is soon empty.
        """
        with self.engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.autocommit = True
            try:
                yield connection
            finally:
                if not raw.closed:
                    raw.autocommit = False

    @contextlib.contextmanager
    def lock(self, name: str, *, idle_seconds: float = LOCK_IDLE_SECONDS) -> Iterator[None]:
        """Hold a lock of this name against every process on the database; not re-entrant.

        What is done under it goes through other connections: should this one be cut, the lock is lost unnoticed
        until the block's end. A holder that does nothing for `idle_seconds` loses it too, and any holder after
        `LOCK_MOST_SECONDS`. Where that matters see `atomic`. Raises `BusyError` when another holds it for longer
        than `LOCK_SECONDS`.
        """
        with self._one_thread(name), _advisory_lock(self.engine, name, idle_seconds):
            yield

    @contextlib.contextmanager
    def atomic(self, name: str) -> Iterator[sa.Connection]:
        """Hold a lock, and make what this thread writes meanwhile one transaction of the lock's own connection.

        All of it happens while the lock is held, or nothing: a holder that is cut off, stopped for longer than
        `ATOMIC_IDLE_SECONDS`, or slower than `LOCK_MOST_SECONDS`, has changed nothing. Trials are to be read before the
        first write: finished ones are remembered, and what isn't committed yet must not be. Not to be nested. Raises
        as `lock` does.
        """
        with self._one_thread(name), _advisory_lock(self.engine, name, ATOMIC_IDLE_SECONDS) as connection:
            self.uncached.remove_session()
            self.uncached.scoped_session(bind=connection, join_transaction_mode="create_savepoint")
            try:
                yield connection
            finally:
                self.uncached.remove_session()

    @contextlib.contextmanager
    def _one_thread(self, name: str) -> Iterator[None]:
        """Let only one thread of this process hold locks, or threads could wait for one another's connections."""
        if not self._locking.acquire(timeout=LOCK_SECONDS):
            raise BusyError(f'waited {LOCK_SECONDS} s for another thread\'s lock before "{name}"')
        try:
            yield
        finally:
            self._locking.release()

    def retrying(
        self,
        call: Callable[[], T],
        *,
        give_up_seconds: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> T:
        """Return what `call` returns, calling again while the server is away, for at most so long.

        Only for calls that may run twice: reads, and writes that set a value rather than add a row.
        Raises `UnreachableError` after that time, and at once whatever isn't the server's absence: `DeniedError` or
        `LoginError` where it refuses the user.
        """
        pauses = backoff(0.5, 15.0, give_up_seconds, clock)
        while True:
            try:
                return call()
            except Exception as error:
                if refused := refusal(error):
                    raise refused from None
                if not is_passing(error):
                    raise
                self.forget_session()
                if (pause := next(pauses, None)) is None:
                    if isinstance(error, BusyError):
                        raise
                    raise UnreachableError(f"the database has not answered for {give_up_seconds:.0f} s") from None
                sleep(pause)

    def forget_session(self) -> None:
        """Forget what this thread had begun: after an outage nothing of it can go on."""
        self.uncached.remove_session()

    def server_version(self) -> str:
        """Return the server's version, such as 18.4."""
        with self.engine.connect() as connection:
            return str(connection.execute(sa.text("SHOW server_version")).scalar_one()).split()[0]

    def close(self) -> None:
        """Give every connection back."""
        self.uncached.remove_session()
        self.engine.dispose()
