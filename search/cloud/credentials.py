"""Credentials of a study: issued, written as a URL that a worker can use, shown."""

import contextlib
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from search.common import out_file, paths
from search.common.durations import parse_duration
from search.common.errors import SearchError
from search.show.columns import Column, Columns
from search.study.study import load_study
from storage.access import roles
from storage.redaction import shown_address
from storage.server.address import is_local
from storage.server.database import Database


def issue(
    database: Database, study: str, name: str, expires: str, connections: int | None = None
) -> roles.NewCredential:
    """Make a credential for a study of ours, which is two of Optuna's. Raises `SearchError` or `StorageError`."""
    try:
        lifetime_seconds = parse_duration(expires)
    except ValueError as error:
        raise SearchError(f"--expires: {error}") from None
    opened = load_study(database, study)
    both = [opened.proxies._study_id, opened.confirmations._study_id]
    return roles.new(
        database, both, name=name, lifetime_seconds=lifetime_seconds, connections=connections or roles.CONNECTIONS
    )


def default_name(database: Database, study: str) -> str:
    """Return a name for a credential whose owner gave none."""
    stem = load_study(database, study).plan.name.lower()
    return (
        "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in stem)[:24]
        + f"-{secrets.token_hex(2)}"
    )


def file_for(name: str, to: str | None) -> Path | None:
    """Return the file to write a credential to, None to print it; raises `SearchError` where it can't be written."""
    if to == "-":
        return None
    path = Path(to).expanduser() if to else paths.home() / "credentials" / name
    with contextlib.suppress(OSError):  # the check says why
        path.parent.mkdir(parents=True, exist_ok=True)
    out_file.check(path, "--to", new=" already; name another file, or remove it")
    return path


def credential_text(database: Database, issued: roles.NewCredential, study: str, host: str | None) -> str:
    """Return the credential as a worker's file holds it: what it is in a comment, and its URL."""
    address = worker_url(database.engine.url, issued, host)
    note = f"# lilm-search: works on {study} until {issued.expires:%Y-%m-%d %H:%M} UTC; keep it private"
    note += "; plain Optuna needs postgresql+psycopg2://"
    return f"{note}\n{address.render_as_string(hide_password=False)}\n"


def check_host(url: str | None, host: str | None) -> None:
    """Refuse what no other machine could use: `url` is None for this machine's own server."""
    if host:
        host_and_port(host)
    if host and not url:
        raise SearchError(
            f"--host is {host}, but this machine's embedded PostgreSQL is out of others' reach; "
            "set up a server (docs/deploy.md) and name it with --storage"
        )


def host_and_port(host: str) -> tuple[str, int | None]:
    """Return the two parts of HOST or HOST:PORT; raises `SearchError` for anything else."""
    name, _, port = host.partition(":") if host.count(":") == 1 else (host, "", "")
    if not re.fullmatch(r"[\w.:\[\]-]+", name) or (port and not (port.isdigit() and 0 < int(port) < 65536)):
        shown = shown_address(host) if "@" in host else host
        raise SearchError(f"--host is {shown!r}, but must be HOST or HOST:PORT, such as db.example.org:5432")
    return name, int(port) if port else None


def revoke(database: Database, name: str) -> tuple[int, int]:
    """End a credential, and hand on what its workers were at; returns how many sessions and trials these were."""
    known = next((c for c in roles.listed(database) if name in (c.name, c.role)), None)
    workers = roles.workers_of(database, known.role) if known else []
    ended = roles.revoke(database, name)
    try:
        study = load_study(database, known.study) if known and workers else None
    except SearchError:  # a half of it is gone: what is left of its trials falls silent, and is taken then
        study = None
    return ended, sum(study.release_worker(worker) for worker in workers) if study else 0


def worker_url(owners: sa.URL, issued: roles.NewCredential, host: str | None) -> sa.URL:
    """Return the owner's address with the credential's login, at the host that the machine can reach.

    What stands in the owner's URL about files of its own machine is left out.
    """
    address = sa.URL.create("postgresql", issued.role, issued.password, owners.host, owners.port, owners.database)
    if host:
        name, port = host_and_port(host)
        address = address.set(host=name, port=port or address.port)
    return address if is_local(address) else address.update_query_dict({"sslmode": "verify-full"})


COLUMNS = (
    Column(name="name"),
    Column(name="study"),
    Column(name="state"),
    Column(name="until (UTC)"),
    Column(name="connections", right=True, weight=1),
    Column(name="last seen (UTC)", weight=2),
    Column(name="role", weight=3, below=True),
)


def table(found: Sequence[roles.Credential]) -> Columns:
    """Return the credentials as a table for people."""
    return Columns(COLUMNS, [_row(c) for c in found])


def _row(c: roles.Credential) -> tuple[str, ...]:
    return (
        c.name,
        c.study,
        c.state,
        f"{c.expires:%Y-%m-%d %H:%M}",
        f"{c.connections} of {c.connection_limit}" if c.connection_limit is not None else "–",
        f"{c.seen:%Y-%m-%d %H:%M}" if c.seen else "–",
        c.role,
    )
