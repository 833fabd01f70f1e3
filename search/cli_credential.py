"""The commands about credentials: what a rented machine logs in with, for one study and some hours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.options import Storage, Study, open_database

if TYPE_CHECKING:
    from storage.roles import Issued

app = typer.Typer(
    no_args_is_help=True,
    help="Make, list and revoke the credentials of machines that aren't trusted.  Example: lilm-search credential list",
)


@app.command()
def new(
    study: Study,
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="What to call it; the default is STUDY-NUMBER.")] = None,
    expires: Annotated[str, typer.Option(help="How long it is good for, such as 90m or 48h.")] = "48h",
    connections: Annotated[
        int | None, typer.Option(min=1, help="At most so many at a time: 6 for each worker of the machine.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The server as that machine reaches it: HOST or HOST:PORT.")] = None,
    to: Annotated[str | None, typer.Option(help="File to write, or - to print the URL with its password.")] = None,
) -> None:
    """Make a credential that can work on one study and nothing else, and write it into a private file.

    Example: lilm-search credential new --study babylm --name box-1 --expires 12h --host db.example.org
    """
    from search.credential import check_host, credential_text, default_name, file_for, issue
    from storage.address import stored_url, write_secret
    from storage.redaction import reveal

    check_host(storage or stored_url(), host)
    with open_database(storage, "credential") as database:
        chosen = name or default_name(database, study)
        target = file_for(chosen, to)
        issued = issue(database, study, chosen, expires, connections)
        text = credential_text(database, issued, study, host)
    if target is None:
        reveal(text)
    else:
        write_secret(target, text)
    _tell(issued, chosen, study, target, here_alone=not (storage or stored_url()))


def _tell(issued: "Issued", name: str, study: str, target: Path | None, *, here_alone: bool) -> None:
    typer.echo(f"{name}: good for {study} until {issued.expires:%Y-%m-%d %H:%M} UTC (role {issued.role})", err=True)
    if here_alone:
        typer.echo(
            "note: the embedded PostgreSQL serves this machine alone, while a command of lilm-search runs; "
            "for other machines, set up a server (docs/deploy.md) and name it with --storage",
            err=True,
        )
    for gap in issued.gaps:
        typer.echo(f"warning: {gap}", err=True)
    if target and here_alone:
        typer.echo(f"written to {target} (mode 600)", err=True)
    elif target:
        typer.echo(f"written to {target} (mode 600); copy it to the machine, and there:", err=True)
        typer.echo(f"  lilm-search worker --study {study} --storage file:{target.name}", err=True)


@app.command("list")
def list_(storage: Storage = None) -> None:
    """Show every credential: its study, when it ends, connections in use, when a worker of it was last seen.

    Example: lilm-search credential list
    """
    from rich.console import Console

    from search.credential import table
    from storage.roles import listed

    with open_database(storage, "credential") as database:
        Console().print(table(listed(database)), highlight=False)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The credential's name, as `credential list` shows it.")],
    storage: Storage = None,
) -> None:
    """End a credential at once, with its sessions; the trials that its workers trained go to others.

    Example: lilm-search credential revoke box-1
    """
    from search.credential import revoke as end

    with open_database(storage, "credential") as database:
        ended, trials = end(database, name)
    typer.echo(f"{name} is revoked; connections ended: {ended}, trials handed on: {trials}")
