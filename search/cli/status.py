"""The commands that show a study or steer its race: status, sweep, dashboard, race, promote."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.completion import studies
from search.cli.options import Storage, Study
from search.study.connection import open_database

if TYPE_CHECKING:
    from storage.server.database import Database


app = typer.Typer()


@app.command()
def status(
    study: Study,
    storage: Storage = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it is finished, or Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(min=0.5, help="With --watch: least seconds between updates.")] = 2.0,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON (docs/status.schema.json); with --watch a line for each update."),
    ] = False,
) -> None:
    """Show where a study stands, or follow it.  Example: lilm-search status --study quickstart --watch"""
    import json

    from rich.console import Console

    from search.analysis.snapshot import read
    from search.show.status.study_overview import study_overview
    from search.show.status.summary import summary
    from search.study.study import load_study

    with open_database(storage, "status") as database:
        if watch:
            _watch(database, study, every, as_json)
            return
        snapshot = read(load_study(database, study))
        if as_json:
            typer.echo(json.dumps(study_overview(snapshot).table(), indent=2, allow_nan=False))
        else:
            Console().print(summary(snapshot), highlight=False)


def _watch(database: "Database", study: str, every: float, as_json: bool) -> None:
    from rich.console import Console

    from search.common.signals import StopRequest
    from search.show.status.watch import watch
    from search.study.study import known_name

    known_name(database, study)  # refuses an unknown name before the screen is cleared
    stop = StopRequest()
    stop.install()
    watch(database, study, Console(), stop, every=every, as_json=as_json)


@app.command()
def sweep(study: Study, storage: Storage = None) -> None:
    """Show what a grid of runs has found so far; `start` runs it, `plot` draws it.

    Example: lilm-search sweep --study sweep-latent
    """
    from rich.console import Console

    from search.show.status.sweep_table import sweep_table
    from search.study.study import load_study

    with open_database(storage, "sweep") as database:
        Console().print(sweep_table(load_study(database, study)), highlight=False)


@app.command()
def dashboard(
    study: Annotated[
        str | None, typer.Option(help="The study to point to; without it, all are listed.", autocompletion=studies)
    ] = None,
    storage: Storage = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on; else 8080, or the next that is free.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine --behind-gateway too.")] = (
        "127.0.0.1"
    ),
    behind_gateway: Annotated[
        bool, typer.Option("--behind-gateway", help="It is behind a gateway with TLS and a login: docs/deploy.md.")
    ] = False,
    open_page: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            help="Open the page in a browser; else only at a terminal on a desktop.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Open optuna-dashboard on the study's storage, on this machine only; reading rights are enough for it.

    Example: lilm-search dashboard --study quickstart
    """
    from search.common.signals import StopRequest
    from search.show.dashboard.server import Address, has_desktop, open_browser, serve

    address = Address(host=host, port=port, behind_gateway=behind_gateway)
    stop = StopRequest()
    with open_database(storage, "dashboard") as database:
        stop.install()
        opens = has_desktop() if open_page is None else open_page
        serve(database, study, address, stop, typer.echo, open_browser if opens else None)


@app.command()
def race(study: Study, storage: Storage = None) -> None:
    """Show the race of confirmation runs: which configuration leads, and why each run was started or no more will be.

    Example: lilm-search race --study quickstart
    """
    from rich.console import Console

    from search.analysis.snapshot import read
    from search.show.status.race_table import race as view
    from search.study.study import load_study

    with open_database(storage, "race") as database:
        Console().print(view(read(load_study(database, study))), highlight=False)


@app.command()
def promote(
    study: Study,
    trial: Annotated[int, typer.Option(help="Number of the proxy trial, as in the dashboard.")],
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Runs, each with its own seed.")] = 1,
    storage: Storage = None,
) -> None:
    """Queue confirmation runs of a proxy trial that you chose; they come before anything else.

    Example: lilm-search promote --study quickstart --trial 4
    """
    from search.strategy.promotion import promote_by_hand
    from search.study.study import load_study

    with open_database(storage, "promote") as database:
        opened = load_study(database, study)
        queued = promote_by_hand(opened, trial, seeds)
        budget = opened.plan.confirm.budget
    if queued:
        typer.echo(f"queued: {queued} × {budget}; workers take these first (`lilm-search start --study {study}`)")
    else:
        typer.echo(f"trial {trial} has had, or waits for, {'this run' if seeds == 1 else 'these runs'} already")
