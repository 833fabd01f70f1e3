"""The commands about rented machines: rent them, see them, give them back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.options import Storage, Study, open_database

if TYPE_CHECKING:
    from search.launch import Asked

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
    hours: Annotated[float | None, typer.Option(min=0, help="End them by then, if --max-usd lasts as long.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Dollars an hour of a GPU, at most.")] = None,
    host: Annotated[str | None, typer.Option(help="The study's server as machines reach it: HOST[:PORT].")] = None,
    credential_file: Annotated[
        Path | None, typer.Option(help="One credential for all machines, instead of a new one for each.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="What to install: a wheel, or what pip can install.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show SkyPilot's task and rent nothing.")] = False,
    form: Annotated[
        str | None, typer.Option("--print", help="Instead, print what to run: bare, kubernetes or slurm.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="With --print: the folder of the files to bring along.")] = None,
    image: Annotated[str, typer.Option(help="With --print kubernetes: the image with lilm-search.")] = "lilm-search",
    storage: Storage = None,
) -> None:
    """Rent machines through SkyPilot and run a worker on each GPU, or print what to run elsewhere.

    Example: lilm-search launch --study babylm --gpu RTX4090 --workers 8 --max-usd 30 --cloud runpod
    """
    from search.launch import Asked

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
    from search.launch import launch as carry_out

    with open_database(storage, "launch") as database:
        carry_out(database, storage, asked, typer.echo)


def _show(asked: "Asked", storage: str | None, form: str | None, to: Path | None, image: str) -> None:
    from search.launch import text
    from storage.redaction import print_file

    shown, notes = text(asked, storage, form, to, image)
    for note in notes:
        typer.echo(f"# {note}", err=True)
    print_file(shown)


@app.command()
def fleet(study: Study, storage: Storage = None) -> None:
    """Show every worker: what it does, trials done, dollars an hour and so far, idle or dead.

    Example: lilm-search fleet --study babylm
    """
    from rich.console import Console

    from search.cloud import find_sky
    from search.errors import SearchError
    from search.fleet_view import fleet as view
    from search.study import load_study

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
    everything: Annotated[bool, typer.Option("--all", help="All of the study's.")] = False,
    storage: Storage = None,
) -> None:
    """Give rented machines back; their trials go to others, their credentials end.

    Example: lilm-search down --study babylm --all
    """
    from search.down import take_down
    from search.errors import SearchError
    from search.study import load_study

    if bool(names) == everything:
        raise SearchError("down needs either names or --all; `lilm-search fleet` shows what there is")
    with open_database(storage, "down") as database:
        take_down(load_study(database, study), names or [], everything, typer.echo)
