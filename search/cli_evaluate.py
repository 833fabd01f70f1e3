"""The command that measures a trained model, in any form, beside the BPB that it claims."""

from pathlib import Path
from typing import Annotated

import typer

from search.options import Device, Rank, pick_device

app = typer.Typer()


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint, a bundle (best.zip) or a folder of safetensors.")],
    data: Annotated[str | None, typer.Option(help="Where its text is here: a path, a glob, hf:ORG/NAME.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="The export of a checkpoint that doesn't say which text it is of.")
    ] = None,
    rank: Rank = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="BPB by which it may differ, instead of what devices differ by.")
    ] = None,
    device: Device = None,
) -> None:
    """Measure a model on all of its validation text; exit code 0 means that the BPB is the one it claims.

    Example: lilm-search evaluate --checkpoint best.zip
    """
    from rich.console import Console

    from search.console import preparing
    from search.measure import measure

    with preparing(Console(stderr=True)) as progress:
        found = measure(
            checkpoint,
            config=config,
            rank=rank,
            data=data,
            tolerance=tolerance,
            device=pick_device(device),
            progress=progress,
            say=typer.echo,
        )
    if found.answer != "yes":
        raise typer.Exit(1)
