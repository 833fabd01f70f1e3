"""The command about a study's files: what there is, and one of them brought here."""

from pathlib import Path
from typing import Annotated

import typer

from search.options import Storage, Study, open_database

app = typer.Typer()


@app.command()
def artifacts(
    study: Study,
    storage: Storage = None,
    trial: Annotated[int | None, typer.Option(help="Only those of this proxy trial.")] = None,
    confirmation: Annotated[int | None, typer.Option(help="Only those of this confirmation run.")] = None,
    get: Annotated[str | None, typer.Option(help="Name of the file to bring here.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where it goes; the default is its own name, here.")] = None,
) -> None:
    """List a study's files: weights, samples, traces of errors, tokenizers; or bring one here.

    Example: lilm-search artifacts --study babylm --get confirm-3.pt
    """
    from search.bringing import bring, listing
    from search.study import load_study

    with open_database(storage, "artifacts") as database:
        opened = load_study(database, study)
        if get:
            typer.echo(f"{get}: {bring(opened, get, trial, confirmation, out or Path(get))}")
        else:
            for line in listing(opened, trial, confirmation):
                typer.echo(line)
