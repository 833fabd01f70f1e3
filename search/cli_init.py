"""The command that writes a first study file."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from search.options import Device

app = typer.Typer()


@app.command()
def init(
    data: Annotated[str | None, typer.Option(help="The text: a path, a glob, hf:ORG/NAME or builtin.")] = None,
    column: Annotated[str | None, typer.Option(help="Its column, where several hold text.")] = None,
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
    from search.init.make import make
    from search.options import pick_device

    make(data, column, out, budget, force, pick_device(device), _ask if asking else None, typer.echo)


def _ask(question: str, choices: list[str]) -> str:
    answer = ""
    while answer not in choices:
        answer = typer.prompt(f"{question} ({', '.join(choices)})", default=choices[0])
    return answer
