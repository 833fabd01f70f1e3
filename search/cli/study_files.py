"""The commands about study files: init writes a first one, studies lists the shipped ones."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from search.cli.completion import study_files
from search.cli.options import Device
from search.study.shipped import descriptions

app = typer.Typer()


@app.command()
def init(
    data: Annotated[str | None, typer.Option(help="The text: a path, a glob, hf:ORG/NAME or builtin.")] = None,
    column: Annotated[str | None, typer.Option(help="Its column, if several hold text.")] = None,
    out: Annotated[Path, typer.Option(help="The study file to write; its name is the study's.")] = Path("my.toml"),
    budget: Annotated[str | None, typer.Option(help="Training time of a proxy trial, such as 6m.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over an existing file.")] = False,
    device: Device = None,
) -> None:
    """Write a commented study file from a text's first rows and this machine's GPU or cores.

    Example: lilm-search init --data 'texts/*.jsonl' --out my.toml
    """
    asking = sys.stdin.isatty() and sys.stdout.isatty()
    if data is None and asking:
        data = typer.prompt("Text (a path, a glob, hf:ORG/NAME)", default="builtin")
    if data is None:
        data = "builtin"
        typer.echo("No --data: the study is of the builtin text, the English that Python carries in its help.")
    from search.cli.options import pick_device
    from search.init.make import make

    make(data, column, out, budget, force, pick_device(device), _ask if asking else None, typer.echo)


def _ask(question: str, choices: list[str]) -> str:
    answer = ""
    while answer not in choices:
        answer = typer.prompt(f"{question} ({', '.join(choices)})", default=choices[0])
    return answer


studies_app = typer.Typer(
    invoke_without_command=True,
    help="List the shipped study files, or show one with all defaults.  Example: lilm-search studies show quickstart",
)


@studies_app.callback()
def studies(context: typer.Context) -> None:
    """List the shipped study files.  Example: lilm-search studies"""
    if context.invoked_subcommand is not None:
        return
    for name, description in descriptions().items():
        typer.echo(f"{name:<16} {description}")


@studies_app.command("show")
def studies_show(
    name: Annotated[str, typer.Argument(help="A shipped study, or a study file's path.", autocompletion=study_files)],
) -> None:
    """Print a study file with all defaults.  Example: lilm-search studies show babylm"""
    from search.study import study_file as studyfile
    from storage.redaction import print_file

    print_file(studyfile.read(name).toml())
