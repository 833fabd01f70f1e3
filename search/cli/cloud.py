"""The commands for rented machines: credential, launch, fleet, down."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import CompiledKey, Storage, Study
from search.study.connection import open_database

if TYPE_CHECKING:
    from search.cloud.launch import Asked
    from storage.access.roles import NewCredential


credential_app = typer.Typer(
    no_args_is_help=True,
    help="Make, list and revoke the credentials of machines that aren't trusted.  Example: lilm-search credential list",
)


@credential_app.command()
def new(
    study: Study,
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="What to call it; the default is STUDY-NUMBER.")] = None,
    expires: Annotated[str, typer.Option(help="How long it is good for, such as 90m or 48h.")] = "48h",
    connections: Annotated[
        int | None, typer.Option(min=1, help="Most connections at a time: 6 for each worker of the machine.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="The server as that machine reaches it: HOST or HOST:PORT.")] = None,
    to: Annotated[str | None, typer.Option(help="File to write, or - to print the URL with its password.")] = None,
) -> None:
    """Make a credential that can work on one study and nothing else, and write it into a private file.

    Example: lilm-search credential new --study babylm --name box-1 --expires 12h --host db.example.org
    """
    from search.cloud.credentials import check_host, credential_text, default_name, file_for, issue
    from storage.redaction import reveal
    from storage.server.address import stored_url, write_secret

    check_host(storage or stored_url(), host)
    with open_database(storage, "credential") as database:
        credential_name = name or default_name(database, study)
        target = file_for(credential_name, to)
        issued = issue(database, study, credential_name, expires, connections)
        text = credential_text(database, issued, study, host)
    if target is None:
        reveal(text)
    else:
        write_secret(target, text)
    _print_issued(issued, credential_name, study, target, here_alone=not (storage or stored_url()))


def _print_issued(issued: "NewCredential", name: str, study: str, target: Path | None, *, here_alone: bool) -> None:
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


@credential_app.command("list")
def list_(storage: Storage = None) -> None:
    """Show every credential: its study, when it ends, connections in use, when a worker of it was last seen.

    Example: lilm-search credential list
    """
    from rich.console import Console

    from search.cloud.credentials import table
    from storage.access.roles import listed

    with open_database(storage, "credential") as database:
        Console().print(table(listed(database)), highlight=False)


@credential_app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The credential's name, as `credential list` shows it.")],
    storage: Storage = None,
) -> None:
    """End a credential at once, with its sessions; the trials that its workers trained go to others.

    Example: lilm-search credential revoke box-1
    """
    from search.cloud.credentials import revoke as end

    with open_database(storage, "credential") as database:
        ended, trials = end(database, name)
    typer.echo(f"{name} is revoked; connections ended: {ended}, trials handed on: {trials}")


app = typer.Typer()


@app.command()
def launch(
    study: Study,
    gpu: Annotated[str, typer.Option(help="RTX4090, or RTX4090:2 for two in a machine; cpu with --print.")],
    workers: Annotated[int, typer.Option(min=1, max=512, help="Workers, one for each GPU.")] = 1,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="Dollars for all workers of the study, from its beginning.")
    ] = None,
    cloud: Annotated[str, typer.Option(help="runpod, vast, lambda, …; several: runpod,vast. Default: any.")] = "",
    spot: Annotated[bool, typer.Option(help="Cheaper machines that may be taken away.")] = False,
    hours: Annotated[
        float | None, typer.Option(min=0, help="Hours after which the machines end, if not earlier by --max-usd.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Most dollars an hour for a GPU.")] = None,
    host: Annotated[str | None, typer.Option(help="The study's server as machines reach it: HOST[:PORT].")] = None,
    credential_file: Annotated[
        Path | None, typer.Option(help="One credential for all machines, instead of a new one for each.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="What to install: a wheel, or what pip can install.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show SkyPilot's task and rent nothing.")] = False,
    form: Annotated[
        str | None, typer.Option("--print", help="Instead, print what to run: bare, kubernetes or slurm.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="With --print: folder to write the files into that the machines need.")
    ] = None,
    image: Annotated[str, typer.Option(help="With --print kubernetes: the image with lilm-search.")] = "lilm-search",
    storage: Storage = None,
    compiled_key_file: CompiledKey = None,
) -> None:
    """Rent machines through SkyPilot and run a worker on each GPU, or print what to run elsewhere.

    Example: lilm-search launch --study babylm --gpu RTX4090 --workers 8 --max-usd 30 --cloud runpod
    """
    from search.cloud.launch import Asked
    from search.common.compiled_key import hand_on

    hand_on(compiled_key_file)
    clouds = tuple(c.strip() for c in cloud.split(",") if c.strip())
    asked = Asked(
        study=study,
        gpu=gpu,
        workers=workers,
        max_usd=max_usd,
        clouds=clouds,
        spot=spot,
        hours=hours,
        price=price,
        host=host,
        credential_file=credential_file,
        source=source,
    )
    if form or dry_run:
        _show(asked, storage, form, to, image)
        return
    from search.cloud.launch import launch as carry_out

    with open_database(storage, "launch") as database:
        carry_out(database, storage, asked, typer.echo)


def _show(asked: "Asked", storage: str | None, form: str | None, to: Path | None, image: str) -> None:
    from search.cloud.launch import text
    from storage.redaction import print_file

    text_to_print, notes = text(asked, storage, form, to, image)
    for note in notes:
        typer.echo(f"# {note}", err=True)
    print_file(text_to_print)


@app.command()
def fleet(study: Study, storage: Storage = None) -> None:
    """Show every worker: what it does, trials done, dollars an hour and so far, idle or dead.

    Example: lilm-search fleet --study babylm
    """
    from rich.console import Console

    from search.cloud.fleet_table import fleet as view
    from search.cloud.skypilot import find_sky
    from search.common.errors import SearchError
    from search.study.study import load_study

    with open_database(storage, "fleet") as database:
        sky, opened = find_sky(), load_study(database, study)
        try:
            rented = sky.machines() if sky else []
        except SearchError as error:
            rented = []
            typer.echo(f"note: {error}", err=True)
        Console().print(view(opened, rented), highlight=False)


@app.command()
def down(
    study: Study,
    names: Annotated[list[str] | None, typer.Argument(help="Machines, launches or workers, as in `fleet`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All machines and workers of the study.")] = False,
    storage: Storage = None,
) -> None:
    """Give rented machines back; their trials go to others, their credentials end.

    Example: lilm-search down --study babylm --all
    """
    from search.cloud.teardown import take_down
    from search.common.errors import SearchError
    from search.study.study import load_study

    if bool(names) == everything:
        raise SearchError("down needs either names or --all; `lilm-search fleet` shows what there is")
    with open_database(storage, "down") as database:
        take_down(load_study(database, study), names or [], everything, typer.echo)
