"""The command that ranks the models of all studies, where they can be compared."""

from pathlib import Path
from typing import Annotated

import typer

from search.completing import one_of, studies
from search.options import Storage, open_database

app = typer.Typer()


@app.command()
def leaderboard(
    study: Annotated[
        list[str] | None, typer.Option(help="Only this study; may be repeated.", autocompletion=studies)
    ] = None,
    storage: Storage = None,
    model: Annotated[
        list[Path] | None, typer.Option(help="An export, bundle or folder from elsewhere; may be repeated.")
    ] = None,
    only_models: Annotated[bool, typer.Option("--only-models", help="Rank the --model files, no studies.")] = False,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="table, markdown, html, yaml, json or csv; else --out's ending says.",
            autocompletion=one_of("table", "markdown", "html", "yaml", "json", "csv"),
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; the default is to print.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Rows of each group, at most.")] = None,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="In the table too: what each model writes on from the standard prompts.")
    ] = False,
    link: Annotated[
        str, typer.Option(help="URL of each model, with {study}, {study_id}, {configuration}, {trial} or {file} in it.")
    ] = "",
) -> None:
    """Rank confirmed models of all studies, each group on its own text, protocol, budget and hardware.

    Example: lilm-search leaderboard --format yaml --out _data/leaderboard.yml
    """
    from search.errors import SearchError
    from search.show.entrants import of_database
    from search.show.exported import of_file
    from search.show.leaderboard import boards
    from search.show.leaderboard_out import chosen, publish
    from search.show.links import Template

    if only_models and (study or not model):
        raise SearchError("--only-models ranks files: name them with --model, and no --study")
    form, template = chosen(form, out), Template(link)
    entrants = [entrant for path in model or [] for entrant in of_file(path, template)]
    if not only_models:
        with open_database(storage, "leaderboard") as database:
            found, said = of_database(database, study, template, prompts=prompts or form != "table")
        entrants = found + entrants
        for line in said:
            typer.echo(f"note: {line}", err=True)
    publish(boards(entrants, top), form, out, prompts=prompts)
    if out:
        typer.echo(f"leaderboard: {out}")
