"""Commands that train, or use, one configuration outside any study."""

from pathlib import Path
from typing import Annotated

import typer

from search.completing import study_files
from search.options import MOST_SEED, Device, Rank, pick_device

app = typer.Typer()


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="An export in any of its formats.")],
    budget: Annotated[
        str | None, typer.Option(help="Training time, such as 20s or 30m; the default is the export's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of initial weights and data order.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the checkpoint goes.")] = Path("best.pt"),
    data: Annotated[str | None, typer.Option(help="Other text: a path, a glob, hf:ORG/NAME or builtin.")] = None,
    rank: Rank = None,
    device: Device = None,
) -> None:
    """Train an exported configuration again, for its budget.

    Example: lilm-search train --config best.toml --budget 30m --out best.pt
    """
    from rich.console import Console

    from search.console import preparing
    from search.retrain import retrain

    console = Console()
    with preparing(console) as progress:
        retrain(config, budget, seed, out, data, pick_device(device), progress, typer.echo, rank)


@app.command()
def recipe(
    study: Annotated[str, typer.Option(help="A shipped study, or a study file's path.", autocompletion=study_files)],
    budget: Annotated[
        str | None, typer.Option(help="Training time of the long run; the default is the study's.")
    ] = None,
    tokens_per_param: Annotated[
        float | None, typer.Option(help="Tokens for each parameter, instead of the study file's number.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of initial weights and data order.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the configuration goes; the checkpoint beside it.")] = Path(
        "recipe.toml"
    ),
    device: Device = None,
) -> None:
    """Go through the search by hand: depth by measured speed, five learning rates, one long run.

    Example: lilm-search recipe --study babylm --out recipe.toml
    """
    from dataclasses import replace

    from rich.console import Console

    from model.errors import SettingsError, StoppedError
    from search import studyfile
    from search.console import preparing
    from search.errors import StudyFileError
    from search.retrain import search_by_hand
    from search.stop import StopRequest

    plan = studyfile.read(study)
    if tokens_per_param is not None:
        try:
            plan = replace(plan, recipe=replace(plan.recipe, tokens_per_param=tokens_per_param))
        except SettingsError as error:
            raise StudyFileError(f"--tokens-per-param: {error}") from None
    chosen, stop = pick_device(device), StopRequest()
    stop.install()
    with preparing(Console()) as progress:
        try:
            search_by_hand(plan, budget, seed, out, chosen, stop, progress, typer.echo)
        except StoppedError:
            raise typer.Exit(130) from None


@app.command()
def sample(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint, a bundle (best.zip) or a folder of safetensors.")],
    prompt: Annotated[str, typer.Option(help="What the model goes on from.")] = "",
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens to generate.")] = 100,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=1, help="Tokens to choose among.")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Of the choice.")] = 0,
    device: Device = None,
) -> None:
    """Let a trained model write on from a prompt.

    Example: lilm-search sample --checkpoint best.pt --prompt "the "
    """
    from model.formats import load
    from model.sample import sample as generate

    loaded = load(checkpoint, pick_device(device))
    text = generate(loaded, prompt, max_tokens=tokens, temperature=temperature, top_k=top_k, seed=seed)
    typer.echo(prompt + text)
