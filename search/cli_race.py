"""The commands about confirmation runs: the race as it stands, and promotion by hand."""

from typing import Annotated

import typer

from search.options import Storage, Study, open_database

app = typer.Typer()


@app.command()
def race(study: Study, storage: Storage = None) -> None:
    """Show the race of confirmation runs: who leads, and why each run was started or none more will be.

    Example: lilm-search race --study quickstart
    """
    from rich.console import Console

    from search.race_view import race as view
    from search.study import load_study

    with open_database(storage, "race") as database:
        Console().print(view(load_study(database, study)), highlight=False)


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
    from search.promotion import promote_by_hand
    from search.study import load_study

    with open_database(storage, "promote") as database:
        opened = load_study(database, study)
        queued = promote_by_hand(opened, trial, seeds)
        budget = opened.plan.confirm.budget
    if queued:
        typer.echo(f"queued: {queued} × {budget}; workers take these first (`lilm-search start --study {study}`)")
    else:
        typer.echo(f"trial {trial} has had, or waits for, {'this run' if seeds == 1 else 'these runs'} already")
