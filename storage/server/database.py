"""Connections to the study's Postgres: a small pool that notices dead servers; passwords are never shown."""

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
from storage.server.address import CA, resolve
from storage.server.address import parse_url as parse_url
from storage.server.backoff import backoff
from storage.server.limits import limit
from storage.server.optuna_storage import open_storage

T = TypeVar("T")
STATEMENT_SECONDS = 60
"""Longest time of a statement."""
LOCK_SECONDS = 55
"""Longest wait for a lock; below STATEMENT_SECONDS, or the server would end the wait as a slow statement."""
LOCK_IDLE_SECONDS = 120
"""Longest silence of a lock's holder, a stopped process for example, before it loses the lock."""
ATOMIC_IDLE_SECONDS = 30
"""The same in `Database.atomic`."""
LOCK_MOST_SECONDS = 120
"""Longest time for which a lock can be held, busy or not, if the server is PostgreSQL 17 or later."""
OLDEST_SERVER = 13
"""Oldest version of PostgreSQL that is supported."""
TRANSIENT = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError, exc.PendingRollbackError)
"""Errors of a server that restarts or a network that breaks; the same call may succeed later."""
TRANSIENT_CODES = ("25006", "25P03", "25P04")
"""Codes of such errors too: a server that is read-only, and a transaction that it ended as idle or too long."""

MOST_CONNECTIONS = 3
"""Connections of one process: two for nested locks, and one for work under them and in other threads."""

_SESSION = {
    "timezone": "UTC",  # Optuna compares heartbeats in the session's time zone
    "statement_timeout": f"{STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_SECONDS}s",
    "idle_in_transaction_session_timeout": "60s",  # or a vanished client would lock the study's row for ever
    "tcp_keepalives_idle": "10",  # and keep its locks: the server also checks that clients are alive
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


def connect(url: str, *, application_name: str = "lilm-search") -> "Database":
    """Open a study database; create Optuna's tables and this package's if they are missing.

    The URL may be file:PATH, the path of a file with one (see `storage.server.address.resolve`). Raises `StorageError`
    for a URL that isn't PostgreSQL's, `UnreachableError` if no server answers, `LoginError` if it refuses the user,
    the password or the database, `DeniedError` if the user lacks a right.
    """
    address = resolve(url)
    server = address.set(drivername="postgresql", query={}).render_as_string()
    options = _engine_options(application_name)
    once = {key: options[key] for key in ("connect_args", "use_native_hstore")}
    first = sa.create_engine(address, poolclass=sa.NullPool, **once)
    try:
        with first.begin() as connection:
            _check_server(connection, server)
            _take_lock(connection, "lilm-search/schema", LOCK_IDLE_SECONDS)
            url = address.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
            storage = open_storage(url, options, connection)
            schema.create(connection)
    except exc.DBAPIError as error:
        raise _explain(error, server) from None
    except optuna.exceptions.StorageInternalError as error:
        raise refusal(error) or StorageError(f"{server}: {redact(str(error.__cause__ or error))}") from None
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
        "use_native_hstore": False,  # or SQLAlchemy asks the server for a type that no table has
        "connect_args": {
            "connect_timeout": 10,
            "tcp_user_timeout": 15_000,
            "application_name": application_name,
            "options": options,
            **keepalives,
        },
    }


def _check_server(connection: sa.Connection, server: str) -> None:
    number = int(connection.execute(sa.text("SHOW server_version_num")).scalar_one())
    if number < OLDEST_SERVER * 10_000:
        raise StorageError(f"{server} is PostgreSQL {number // 10_000}, but {OLDEST_SERVER} or later is needed")


def _explain(error: exc.DBAPIError, server: str) -> StorageError:
    text = str(error.orig).strip()
    if "password authentication failed" in text or "no password supplied" in text:
        return LoginError(
            f"{server} refuses the login: wrong user or password, or the credential has expired or was revoked. "
            "Check them in the URL or its file; `lilm-search credential new` makes another credential"
        )
    if "certificate" in text or "SSL" in text.split("pg_hba.conf")[0]:
        return LoginError(
            f"{server} is not proven to be that server: {_reason(error)}. Name the authority of its certificate "
            f"with sslrootcert=FILE in the URL, or in {CA}"
        )
    if re.search(r'role ".*" does not exist|role ".*" is not permitted to log in|pg_hba.conf', text):
        return LoginError(f"{server} refuses the user: {_reason(error)}")
    if re.search(r'database ".*" does not exist', text):
        return LoginError(f"{server}: {_reason(error)}. Create it first: createdb NAME")
    if refused := refusal(error):
        return refused
    if isinstance(error, exc.OperationalError):
        return UnreachableError(f"{server} can't be reached: {_reason(error)}. Check host and port, and that it runs.")
    return StorageError(f"{server}: {_reason(error)}")


def refusal(error: BaseException | None) -> StorageError | None:
    """Return the error for the user if the database refused a right or a login, or the study is gone; else None."""
    while isinstance(error, optuna.exceptions.StorageInternalError):
        error = error.__cause__
    orphaned = isinstance(error, exc.IntegrityError) and isinstance(error.orig, psycopg2.errors.ForeignKeyViolation)
    if orphaned or (isinstance(error, KeyError) and error.args == (NOT_FOUND_MSG,)):
        return GoneError(GONE)
    if not isinstance(error, exc.DBAPIError):
        return None
    reason = redact(_reason(error))
    if isinstance(error.orig, psycopg2.errors.InsufficientPrivilege):
        return DeniedError(
            f"the database user may not do this: {reason}. Ask the study's owner, or run it as the owner"
        )
    if isinstance(error.orig, psycopg2.errors.InvalidAuthorizationSpecification) or _REFUSED.search(reason):
        return LoginError(f"the database refuses the login: {reason}. Ask for another: `lilm-search credential new`")
    return None


GONE = (
    "the study, or a half of it, was deleted from the database meanwhile: nothing more is written. "
    "`lilm-search` alone lists what is left"
)
_REFUSED = re.compile(r'password authentication failed|role ".*" (does not exist|is not permitted to log in)')


def _reason(error: exc.DBAPIError) -> str:
    """Return the server's message in one line, without the address."""
    line = first_line(error.orig or error)
    return re.sub(r"^connection to server at .*? failed: (?:FATAL:\s*)?", "", line).removeprefix("FATAL:").strip()


@contextlib.contextmanager
def _advisory_lock(engine: sa.Engine, name: str, idle_seconds: float) -> Iterator[sa.Connection]:
    """Hold a lock that every process on this database respects; it ends with its transaction in any case."""
    with engine.begin() as connection:
        _take_lock(connection, name, idle_seconds)
        yield connection


def _take_lock(connection: sa.Connection, name: str, idle_seconds: float) -> None:
    """Take the lock in the connection's transaction, which from now on may be idle for so long only."""
    try:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})
    except exc.OperationalError as error:
        if isinstance(error.orig, psycopg2.errors.LockNotAvailable):
            raise BusyError(
                f'waited {LOCK_SECONDS} s for the lock "{name}"; another process holds it: see `lilm-search doctor`'
            ) from None
        raise
    limit(connection, idle_seconds=idle_seconds, whole_seconds=LOCK_MOST_SECONDS)


def is_transient(error: BaseException) -> bool:
    """Return whether a failed database call may succeed later, since the server restarts or the network is cut."""
    cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
    if refusal(cause) is not None:
        return False
    if isinstance(cause, exc.DBAPIError) and getattr(cause.orig, "pgcode", None) in TRANSIENT_CODES:
        return True
    disconnected = isinstance(cause, exc.DBAPIError) and cause.connection_invalidated
    return disconnected or isinstance(cause, (*TRANSIENT, BusyError))


class Database:
    """A study database: `storage` is for Optuna's studies, `engine` for queries of this project."""

    def __init__(self, storage: RDBStorage) -> None:
        self.engine = storage.engine
        self.uncached = storage
        """Optuna's storage without a cache, for rows that aren't committed yet."""
        self.storage: BaseStorage = optuna.storages.get_storage(storage)  # cached: finished trials are read once
        self._locking = threading.RLock()

    @contextlib.contextmanager
    def autocommit(self) -> Iterator[sa.Connection]:
        """Yield a connection on which each statement is a transaction by itself, in one round trip.

        SQLAlchemy's own AUTOCOMMIT asks the server once more when the connection is given back; if the network fails
        then, the connection never returns, and the pool is soon empty.
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

        Work under it uses other connections: if the lock's own breaks, the lock is lost, which shows at the block's
        end only. A holder that is idle for `idle_seconds` loses it too, and any holder after `LOCK_MOST_SECONDS`.
        If that matters use `atomic`. Raises `BusyError` if another process holds it for longer than `LOCK_SECONDS`.
        """
        with self._one_thread(name), _advisory_lock(self.engine, name, idle_seconds):
            yield

    @contextlib.contextmanager
    def atomic(self, name: str) -> Iterator[sa.Connection]:
        """Hold a lock, and make all that this thread writes meanwhile one transaction of the lock's own connection.

        All of it happens while the lock is held, or nothing: a holder that is disconnected, stopped for longer than
        `ATOMIC_IDLE_SECONDS`, or slower than `LOCK_MOST_SECONDS`, changes nothing. Read trials before the first write:
        finished ones are cached, and uncommitted ones must not be. Don't nest it. Raises as `lock` does.
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
        """Let only one thread of this process hold locks, or threads could deadlock over connections."""
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
        """Return the result of `call`, calling again while the server is away, for `give_up_seconds` at most.

        Only for calls that may run twice: reads, and writes that set a value rather than add a row.
        Raises `UnreachableError` after that time. Other errors are raised at once: `DeniedError` or `LoginError` if
        the server refuses the user.
        """
        pauses = backoff(0.5, 15.0, give_up_seconds, clock)
        while True:
            try:
                return call()
            except Exception as error:
                if refused := refusal(error):
                    raise refused from None
                if not is_transient(error):
                    raise
                self.forget_session()
                if (pause := next(pauses, None)) is None:
                    if isinstance(error, BusyError):
                        raise
                    raise UnreachableError(f"the database has not answered for {give_up_seconds:.0f} s") from None
                sleep(pause)

    def forget_session(self) -> None:
        """Drop this thread's session, which can't be used after an outage."""
        self.uncached.remove_session()

    def server_version(self) -> str:
        """Return the server's version, such as 18.4."""
        with self.engine.connect() as connection:
            return str(connection.execute(sa.text("SHOW server_version")).scalar_one()).split()[0]

    def close(self) -> None:
        """Close all connections."""
        self.uncached.remove_session()
        self.engine.dispose()
