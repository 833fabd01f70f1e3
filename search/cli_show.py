"""The commands that show a study and change nothing of it."""

from typing import Annotated

import typer

from search.options import Storage, Study, open_database

app = typer.Typer()


@app.command()
def status(study: Study, storage: Storage = None) -> None:
    """Show where a study stands.  Example: lilm-search status --study quickstart"""
    from rich.console import Console

    from search.console import summary
    from search.study import load_study

    with open_database(storage, "status") as database:
        Console().print(summary(load_study(database, study)), highlight=False)


@app.command()
def sweep(study: Study, storage: Storage = None) -> None:
    """Show what a grid of runs has found so far; `start` runs it, `plot` draws it.

    Example: lilm-search sweep --study sweep-latent
    """
    from rich.console import Console

    from search.study import load_study
    from search.sweep import sweep_table

    with open_database(storage, "sweep") as database:
        Console().print(sweep_table(load_study(database, study)), highlight=False)


@app.command()
def dashboard(
    study: Annotated[str | None, typer.Option(help="The study to point to; without it, all are listed.")] = None,
    storage: Storage = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on; else 8080, or the next that is free.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine --behind-gateway too.")] = (
        "127.0.0.1"
    ),
    behind_gateway: Annotated[
        bool, typer.Option("--behind-gateway", help="A gateway with TLS and a login stands before it: docs/deploy.md.")
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
    from search.dashboard import Address, has_desktop, open_browser, serve
    from search.stop import StopRequest

    address = Address(host=host, port=port, behind_gateway=behind_gateway)
    stop = StopRequest()
    with open_database(storage, "dashboard") as database:
        stop.install()
        opens = has_desktop() if open_page is None else open_page
        serve(database, study, address, stop, typer.echo, open_browser if opens else None)
