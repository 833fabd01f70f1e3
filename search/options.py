"""What several commands share: their options, the database they open, the device they train on."""

import contextlib
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.completing import studies

if TYPE_CHECKING:
    from search.stop import StopRequest
    from storage.database import Database

Study = Annotated[
    str,
    typer.Option(
        "--study", help="A shipped study, a study file's path, or a study in the database.", autocompletion=studies
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        envvar="LILM_SEARCH_STORAGE",
        show_envvar=True,
        help="postgresql://USER@HOST/DATABASE, or file:PATH of a private file that holds such a URL with its "
        "password; without it, an embedded PostgreSQL on this machine.",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1; the default is the GPU where there is one.")]
MOST_SEED = 2**31 - 1
"""The largest seed: torch and numpy take it, and so they do with the number of a study or a run added to it."""
Rank = Annotated[int | None, typer.Option(min=1, help="Of an export of several (--top): which one, 1 for the best.")]

MOST_AWAY_SECONDS = 300.0
"""How long a worker waits at its start for a server that is away."""


@contextlib.contextmanager
def open_database(url: str | None, command: str, stop: "StopRequest | None" = None) -> Iterator["Database"]:
    """Open the study database: the one asked for, or this machine's embedded one.

    With `stop` a server elsewhere that is away is waited for, some minutes or until stopping is asked for.
    """
    import optuna

    from search import paths
    from storage.address import stored_url
    from storage.database import connect
    from storage.embedded import embedded

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
    """Connect once the server is there: where it restarts, or a network comes up, a minute makes the difference."""
    from storage.database import is_passing
    from storage.errors import StorageError, UnreachableError

    started, pause = time.monotonic(), 1.0
    while True:
        try:
            return connect()
        except Exception as error:
            away = isinstance(error, UnreachableError) or is_passing(error)
            if not away or time.monotonic() - started >= MOST_AWAY_SECONDS:
                raise
            said = str(error) if isinstance(error, StorageError) else type(error).__name__
            typer.echo(f"{said} Trying again in {pause:.0f} s", err=True)
        if stop.wait(pause):
            raise typer.Exit(130)
        pause = min(2 * pause, 30.0)


def _warn_of_shown_password(url: str | None) -> None:
    """Every user of a machine can read the arguments of its processes."""
    from storage.redaction import has_secret

    if url and any(url in argument for argument in sys.argv[1:]) and has_secret(url):
        typer.echo(
            "warning: everybody on this machine can read a password on the command line; "
            "use LILM_SEARCH_STORAGE, or --storage file:PATH",
            err=True,
        )


def pick_device(name: str | None) -> Any:
    """Return the torch device of this name, or the GPU where there is one; raises `SearchError`.

    What is compiled for it is kept on disk: another trial of the same shape finds it there.
    """
    import os

    import torch

    from search import paths
    from search.errors import SearchError

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.cache() / "compiled"))

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        known = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_available())
        known = known and (device.index or 0) < max(1, torch.cuda.device_count())
    except RuntimeError:
        known = False
    if not known:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        unseen = "" if torch.cuda.is_available() else "; torch sees no GPU here: `lilm-search doctor` says more"
        raise SearchError(f'--device is "{name}", but must be one of {", ".join(there)}{unseen}')
    return device
