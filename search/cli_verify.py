"""The command that trains an export, or a study's run, again, and says whether its BPB comes out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.completing import studies
from search.options import MOST_SEED, Device, Rank, Storage, open_database, pick_device

app = typer.Typer()


@app.command()
def verify(
    study: Annotated[
        str | None, typer.Option(help="A study in the database: its best, or the run named.", autocompletion=studies)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="An export's file, instead of a study.")] = None,
    rank: Rank = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Number of a proxy trial of the study.")] = None,
    confirmation: Annotated[int | None, typer.Option(min=0, help="Number of a confirmation run of the study.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEED, help="Another seed than the export's first.")
    ] = None,
    tolerance: Annotated[float | None, typer.Option(min=0, help="BPB to compare with, instead of the noise.")] = None,
    data: Annotated[str | None, typer.Option(help="Where the same text is here: a path, a glob, hf:ORG/NAME.")] = None,
    device: Device = None,
    storage: Storage = None,
) -> None:
    """Train an export again and say whether its BPB comes out; exit code 0 means yes, 1 no or can't tell.

    Example: lilm-search verify --study quickstart
    """
    import contextlib
    import tempfile

    from rich.console import Console

    from search.console import preparing
    from search.errors import SearchError
    from search.verify import verify as train_again

    if (study is None) == (config is None):
        raise SearchError("name one of --study and --config: what is to be verified")
    if study is None and (trial is not None or confirmation is not None):
        raise SearchError("--trial and --confirmation are runs of a study: name it with --study, not --config")
    if study is not None and rank is not None:
        raise SearchError("--rank is one of an export's configurations: name its file with --config, not --study")
    if trial is not None and confirmation is not None:
        raise SearchError("name one of --trial and --confirmation: what is to be verified")
    with contextlib.ExitStack() as stack:
        if config is None:
            assert study is not None
            config = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lilm-verify-"))) / "export.toml"
            config.write_text(_exported(study, storage, trial, confirmation), encoding="utf-8")
        progress: Any = stack.enter_context(preparing(Console()))
        found = train_again(
            config,
            rank=rank,
            seed=seed,
            tolerance=tolerance,
            data=data,
            device=pick_device(device),
            progress=progress,
            say=typer.echo,
        )
    if found.answer != "yes":
        raise typer.Exit(1)


def _exported(study: str, storage: str | None, trial: int | None, confirmation: int | None) -> str:
    """Return the export that is to be verified; the study is read for nothing else."""
    from search.export import best_export, render
    from search.export_run import confirmation_export, trial_export
    from search.study import load_study

    with open_database(storage, "verify") as database:
        opened = load_study(database, study)
        if trial is not None:
            table = trial_export(opened, trial)
        elif confirmation is not None:
            table = confirmation_export(opened, confirmation)
        else:
            table = best_export(opened)
    return render(table, "toml")
