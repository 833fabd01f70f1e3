"""The command that draws one figure of a study."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.options import Storage, open_database

app = typer.Typer()


@app.command()
def plot(
    name: Annotated[str | None, typer.Argument(help="The picture's name; without one, all are listed.")] = None,
    study: Annotated[
        str | None, typer.Option(help="A shipped study, a study file's path, or a study in the database.")
    ] = None,
    storage: Storage = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to: .html (without need of a network), .json, .png, .svg or .pdf.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in this machine's browser.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only list the pictures, and what each needs.")] = False,
) -> None:
    """Draw one figure of a study into a file; without a name, list what can be drawn and what is still missing.

    Example: lilm-search plot latent-sweep --study sweep-latent --out latent.png
    """
    from rich.console import Console

    from search.errors import SearchError
    from search.show.gallery import picture
    from search.show.plotting import listing
    from search.show.plotting import plot as draw
    from search.show.writing import check_format

    if name is None or list_:
        facts = None if study is None else _facts(study, storage)
        Console().print(listing(facts), highlight=False)
        return
    picture(name)  # before a database is opened for it
    if study is None:
        raise SearchError(f"which study's? give its name: lilm-search plot {name} --study NAME")
    check_format(out := out or Path(f"{Path(study).stem}-{name}.html"))
    draw(name, _facts(study, storage), out)
    typer.echo(f"figure: {out}")
    if open_:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())


def _facts(study: str, storage: str | None) -> Any:
    from search.show.facts import read
    from search.study import load_study

    with open_database(storage, "plot") as database:
        return read(load_study(database, study))
