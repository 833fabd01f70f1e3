"""The command about study files: those shipped, and one settled."""

from typing import Annotated

import typer

from search.completing import study_files

app = typer.Typer(
    invoke_without_command=True,
    help="List the shipped study files, or show one settled.  Example: lilm-search studies show quickstart",
)


@app.callback()
def studies(context: typer.Context) -> None:
    """List the shipped study files.  Example: lilm-search studies"""
    if context.invoked_subcommand is not None:
        return
    from search import studyfile

    for name in studyfile.shipped():
        plan = studyfile.read(name)
        typer.echo(f"{name:<16} {plan.description}")


@app.command("show")
def studies_show(
    name: Annotated[str, typer.Argument(help="A shipped study, or a study file's path.", autocompletion=study_files)],
) -> None:
    """Print a study file settled, defaults included.  Example: lilm-search studies show babylm"""
    from search import studyfile
    from storage.redaction import print_file

    print_file(studyfile.read(name).toml())
