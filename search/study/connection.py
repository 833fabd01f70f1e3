"""Connection of a command to the database; commands that may wait try again while the server is away."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from search.common.signals import StopRequest
    from storage.server.database import Database


MAX_AWAY_SECONDS = 300.0
"""Longest time, in seconds, that a worker waits at its start for a server that is away."""


@contextlib.contextmanager
def open_database(url: str | None, command: str, stop: "StopRequest | None" = None) -> Iterator["Database"]:
    """Open the study database: the one at this URL, or else this machine's embedded one.

    If `stop` is given and the server at the URL is away, wait for it, up to `MAX_AWAY_SECONDS` or until `stop` is set.
    """
    import optuna

    from search.common import paths
    from storage.server.address import stored_url
    from storage.server.database import connect
    from storage.server.embedded import embedded

    _warn_of_shown_password(url)
    url = url or stored_url()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    with contextlib.ExitStack() as stack:
        address = url or stack.enter_context(embedded(paths.home() / "postgres"))
        first = partial(connect, address, application_name=f"lilm-search {command}")
        database = first() if stop is None or url is None else _patiently(first, stop)
        stack.callback(database.close)
        yield database


def _patiently(connect: Callable[[], "Database"], stop: "StopRequest") -> "Database":
    """Connect, and try again while the server is away: it may be restarting, or the network coming up."""
    from storage.errors import StorageError, UnreachableError
    from storage.server.backoff import backoff
    from storage.server.database import is_transient

    pauses = backoff(1.0, 30.0, MAX_AWAY_SECONDS)
    while True:
        try:
            return connect()
        except Exception as error:
            away = isinstance(error, UnreachableError) or is_transient(error)
            if not away or (pause := next(pauses, None)) is None:
                raise
            message = str(error) if isinstance(error, StorageError) else type(error).__name__
            typer.echo(f"{message} Trying again in {pause:.0f} s", err=True)
        if stop.wait(pause):
            raise typer.Exit(130)


def _warn_of_shown_password(url: str | None) -> None:
    """Warn of a password among the command's arguments, which all users of the machine can read."""
    from storage.redaction import has_secret

    if url and any(url in argument for argument in sys.argv[1:]) and has_secret(url):
        typer.echo(
            "warning: all users of this machine can read a password on the command line; "
            "use LILM_SEARCH_STORAGE, or --storage file:PATH",
            err=True,
        )
