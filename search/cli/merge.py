"""The command that averages a study's trained models: merge."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.completion import completion_of
from search.cli.options import MOST_SEED, Device, Storage, Study, pick_device
from search.study.connection import open_database

app = typer.Typer()
METHODS = ("best", "average", "greedy", "evolved")
"""The same as `METHODS` of `search.retrain.merge`, which imports torch."""


@app.command()
def merge(
    study: Study,
    storage: Storage = None,
    configuration: Annotated[
        str | None,
        typer.Option(
            help='Confirmed configuration whose runs are merged, such as "trial 13"; the default is the best.'
        ),
    ] = None,
    confirmation: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Number of a run to merge, instead; repeat it. Networks must be alike."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="Average to write: best (of all, if it beats the best run), average, greedy or evolved.",
            autocompletion=completion_of(*METHODS),
        ),
    ] = "best",
    groups: Annotated[
        int, typer.Option(min=1, help="Groups of consecutive blocks, each with evolved weights of its own.")
    ] = 1,
    trials: Annotated[int, typer.Option(min=1, help="Mixes that evolution measures.")] = 60,
    choose_bytes: Annotated[
        int, typer.Option(min=1, help="Bytes of validation text that mixes are measured on while choosing.")
    ] = 1_000_000,
    out: Annotated[Path, typer.Option(help="Where the checkpoint goes.")] = Path("merged.pt"),
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the evolution.")] = 0,
    data: Annotated[
        str | None, typer.Option(help="Where the study's text is here: a path, a glob, hf:ORG/NAME.")
    ] = None,
    device: Device = None,
) -> None:
    """Average trained runs of a study, and measure on text that no choice has seen whether that helps.

    Exit code 0 means that an average was written; 1 that none was better than the best run alone.

    Example: lilm-search merge --study babylm --out merged.pt
    """
    from rich.console import Console

    from search.analysis.snapshot import read
    from search.cli.progress import preparation_bars
    from search.retrain.merge import MergeOptions
    from search.retrain.merge import merge as merge_runs
    from search.study.study import load_study

    options = MergeOptions(
        configuration=configuration,
        confirmations=confirmation or (),
        method=method,
        groups=groups,
        trials=trials,
        choose_bytes=choose_bytes,
        seed=seed,
        data=data,
    )
    with open_database(storage, "merge") as database, preparation_bars(Console(stderr=True)) as progress:
        snapshot = read(load_study(database, study))
        written = merge_runs(snapshot, options, out, pick_device(device), progress, typer.echo)
    if not written:
        raise typer.Exit(1)
