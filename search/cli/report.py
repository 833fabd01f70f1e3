"""The commands that write figures and tables: report, plot, leaderboard."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.completion import completion_of, pictures, studies
from search.cli.options import Storage, Study
from search.study.connection import open_database

app = typer.Typer()


@app.command()
def report(
    study: Study,
    storage: Storage = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; the default is STUDY-report.html, in this folder.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="html, pdf or png; the default is what --out ends in, or html.",
            autocompletion=completion_of("html", "pdf", "png"),
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Open it in this machine's browser.")] = False,
) -> None:
    """Write what a study has found into one file: answers with their figures, readable without a network.

    Example: lilm-search report --study quickstart --open
    """
    from search.analysis.snapshot import read
    from search.show.report.page import output_path, page, write
    from search.show.report.samples import winners_samples
    from search.study.study import load_study

    with open_database(storage, "report") as database:
        opened = load_study(database, study)
        path, kind = output_path(opened.plan.name, out, form)
        snapshot = read(opened)
        size = write(page(snapshot, samples=winners_samples(opened, snapshot)), path, kind)
    typer.echo(f"report: {path} ({size / 1e6:.1f} MB)")
    if show:
        typer.launch(str(path.resolve()))


@app.command()
def plot(
    name: Annotated[
        str | None, typer.Argument(help="The picture's name; without one, all are listed.", autocompletion=pictures)
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(help="A shipped study, a study file's path, or a study in the database.", autocompletion=studies),
    ] = None,
    storage: Storage = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write: .html (needs no network), .json, .png, .svg or .pdf.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in this machine's browser.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Only list the pictures, and what each needs.")] = False,
) -> None:
    """Draw one figure of a study into a file; without a name, list what can be drawn and what is still missing.

    Example: lilm-search plot latent-sweep --study sweep-latent --out latent.png
    """
    from rich.console import Console

    from search.common.errors import SearchError
    from search.common.out_file import check
    from search.show.figures.gallery import picture
    from search.show.figures.output import check_format
    from search.show.figures.plot import listing
    from search.show.figures.plot import plot as draw

    if name is None or list_:
        snapshot = None if study is None else _snapshot(study, storage)
        Console().print(listing(snapshot), highlight=False)
        return
    picture(name)  # before a database is opened for it
    if study is None:
        raise SearchError(f"which study's? give its name: lilm-search plot {name} --study NAME")
    check_format(out := out or Path(f"{Path(study).stem}-{name}.html"))
    check(out)
    draw(name, _snapshot(study, storage), out)
    typer.echo(f"figure: {out}")
    if open_:
        import webbrowser

        webbrowser.open(out.resolve().as_uri())


def _snapshot(study: str, storage: str | None) -> Any:
    from search.analysis.snapshot import read
    from search.study.study import load_study

    with open_database(storage, "plot") as database:
        return read(load_study(database, study))


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
            help="table, markdown, html, yaml, json or csv; the default is --out's ending, or table.",
            autocompletion=completion_of("table", "markdown", "html", "yaml", "json", "csv"),
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; the default is to print.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Most rows of each group.")] = None,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="In the table too: what each model generates from the standard prompts.")
    ] = False,
    link: Annotated[
        str, typer.Option(help="URL of each model, with {study}, {study_id}, {configuration}, {trial} or {file} in it.")
    ] = "",
) -> None:
    """Rank confirmed models of all studies, each group on its own text, protocol, budget and hardware.

    Example: lilm-search leaderboard --format yaml --out _data/leaderboard.yml
    """
    from search.common.errors import SearchError
    from search.common.out_file import check
    from search.show.leaderboard.boards import boards
    from search.show.leaderboard.from_files import entrants_from_file
    from search.show.leaderboard.from_studies import entrants_from_database
    from search.show.leaderboard.links import LinkTemplate
    from search.show.leaderboard.output import choose_format, publish

    if only_models and (study or not model):
        raise SearchError("--only-models ranks files: name them with --model, and no --study")
    form, template = choose_format(form, out), LinkTemplate(link)
    if out:
        check(out)
    entrants = [entrant for path in model or [] for entrant in entrants_from_file(path, template)]
    if not only_models:
        with open_database(storage, "leaderboard") as database:
            from_studies, notes = entrants_from_database(database, study, template, prompts=prompts or form != "table")
        entrants = from_studies + entrants
        for line in notes:
            typer.echo(f"note: {line}", err=True)
    publish(boards(entrants, top), form, out, prompts=prompts)
    if out:
        typer.echo(f"leaderboard: {out}")
