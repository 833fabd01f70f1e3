"""The command that takes a study's best configuration elsewhere."""

from typing import Annotated

import typer

from search.completing import one_of
from search.options import Storage, Study, open_database

app = typer.Typer()


@app.command()
def export(
    study: Study,
    storage: Storage = None,
    form: Annotated[
        str, typer.Option("--format", help="toml, json or yaml.", autocompletion=one_of("toml", "json", "yaml"))
    ] = "toml",
) -> None:
    """Print the best confirmed configuration, with its evidence.

    Example: lilm-search export --study babylm --format json
    """
    from search.export import best_export, render
    from search.study import load_study

    with open_database(storage, "export") as database:
        typer.echo(render(best_export(load_study(database, study)), form), nl=False)
