"""The command that writes a study's report."""

from pathlib import Path
from typing import Annotated

import typer

from search.options import Storage, Study, open_database

app = typer.Typer()


@app.command()
def report(
    study: Study,
    storage: Storage = None,
    out: Annotated[Path | None, typer.Option(help="Where it goes; the default is STUDY-report.html, here.")] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="html, pdf or png; the default is what --out ends in, or html."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in this machine's browser.")] = False,
) -> None:
    """Write what a study has found into one file: answers with their figures, readable without a network.

    Example: lilm-search report --study quickstart --open
    """
    from search.show.facts import read
    from search.show.report import page, place, write
    from search.show.samples import winners_samples
    from search.study import load_study

    with open_database(storage, "report") as database:
        opened = load_study(database, study)
        facts = read(opened)
        path, kind = place(opened.plan.name, out, form)
        size = write(page(facts, samples=winners_samples(opened, facts)), path, kind)
    typer.echo(f"report: {path} ({size / 1e6:.1f} MB)")
    if show:
        typer.launch(str(path.resolve()))
