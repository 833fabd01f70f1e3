"""The commands that train and measure outside a study: train, sample, verify, recipe, evaluate, score, serve."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.completion import studies, study_files
from search.cli.options import MOST_SEED, Device, Rank, Storage, pick_device
from search.study.connection import open_database

app = typer.Typer()


@app.command()
def train(
    config: Annotated[Path, typer.Option(help="An export in any of its formats.")],
    budget: Annotated[
        str | None, typer.Option(help="Training time, such as 20s or 30m; the default is the export's.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of initial weights and data order.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the checkpoint goes.")] = Path("best.pt"),
    data: Annotated[str | None, typer.Option(help="Other text: a path, a glob, hf:ORG/NAME or builtin.")] = None,
    rank: Rank = None,
    device: Device = None,
) -> None:
    """Train an exported configuration again, for its budget.

    Example: lilm-search train --config best.toml --budget 30m --out best.pt
    """
    from rich.console import Console

    from search.cli.progress import preparation_bars
    from search.retrain.train import retrain

    console = Console()
    with preparation_bars(console) as progress:
        retrain(config, budget, seed, out, data, pick_device(device), progress, typer.echo, rank)


@app.command()
def verify(
    study: Annotated[
        str | None,
        typer.Option(
            help="A study in the database: its best configuration, or the run that --trial or --confirmation names.",
            autocompletion=studies,
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="An export's file, instead of a study.")] = None,
    rank: Rank = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Number of a proxy trial of the study.")] = None,
    confirmation: Annotated[int | None, typer.Option(min=0, help="Number of a confirmation run of the study.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEED, help="Seed to train with; the default is the export's first.")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(min=0, help="Largest difference in BPB that counts as equal; the default comes from the noise."),
    ] = None,
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

    from search.cli.progress import preparation_bars
    from search.common.errors import SearchError
    from search.retrain.verify import verify as train_again

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
        progress: Any = stack.enter_context(preparation_bars(Console()))
        verification = train_again(
            config,
            rank=rank,
            seed=seed,
            tolerance=tolerance,
            data=data,
            device=pick_device(device),
            progress=progress,
            say=typer.echo,
        )
    if verification.answer != "yes":
        raise typer.Exit(1)


def _exported(study: str, storage: str | None, trial: int | None, confirmation: int | None) -> str:
    """Return the export to be verified, as TOML, from a study or one of its runs."""
    from search.analysis.snapshot import read
    from search.export.export import best_export, render
    from search.export.runs import confirmation_export, trial_export
    from search.study.study import load_study

    with open_database(storage, "verify") as database:
        snapshot = read(load_study(database, study))
        if trial is not None:
            table = trial_export(snapshot, trial)
        elif confirmation is not None:
            table = confirmation_export(snapshot, confirmation)
        else:
            table = best_export(snapshot)
    return render(table, "toml")


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint, a bundle (best.zip) or a folder of safetensors.")],
    data: Annotated[str | None, typer.Option(help="Where its text is here: a path, a glob, hf:ORG/NAME.")] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Export of the checkpoint, if the checkpoint doesn't say which text it was trained on."),
    ] = None,
    rank: Rank = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="Largest difference in BPB that counts as equal; the default is what devices differ by."
        ),
    ] = None,
    device: Device = None,
) -> None:
    """Measure a model on all of its validation text; exit code 0 means that the BPB is the one it claims.

    Example: lilm-search evaluate --checkpoint best.zip
    """
    from rich.console import Console

    from search.cli.progress import preparation_bars
    from search.retrain.evaluate import measure

    with preparation_bars(Console(stderr=True)) as progress:
        verification = measure(
            checkpoint,
            config=config,
            rank=rank,
            data=data,
            tolerance=tolerance,
            device=pick_device(device),
            progress=progress,
            say=typer.echo,
        )
    if verification.answer != "yes":
        raise typer.Exit(1)


@app.command()
def score(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint, a bundle (best.zip) or a folder of safetensors.")],
    task: Annotated[
        list[str] | None,
        typer.Option(help="Minimal pairs in BLiMP's format: a folder, .jsonl file or glob; may be repeated."),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A text file, measured as one document; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    device: Device = None,
) -> None:
    """Score a model on minimal pairs (accuracy by phenomenon), or on any text (perplexity, bits per byte).

    Example: lilm-search score --checkpoint best.zip --task blimp/
    """
    from rich.console import Console

    from model.formats.load import load
    from model.minimal_pairs import choose, read_pairs
    from search.common.errors import SearchError
    from search.retrain import score as scores

    if not task and not text:
        raise SearchError("nothing to score: name minimal pairs with --task, or a text with --text")
    pairs, chosen = read_pairs(task or []), pick_device(device)
    loaded = load(checkpoint, chosen)
    choices = choose(loaded.network, loaded.tokenizer, pairs) if pairs else None
    texts = [scores.text_score(loaded, path, chosen) for path in text or []]
    if as_json:
        typer.echo(scores.as_json(checkpoint, choices, texts))
    else:
        Console().print(scores.as_tables(choices, texts), highlight=False)


@app.command()
def recipe(
    study: Annotated[str, typer.Option(help="A shipped study, or a study file's path.", autocompletion=study_files)],
    budget: Annotated[
        str | None, typer.Option(help="Training time of the long run; the default is the study's.")
    ] = None,
    tokens_per_param: Annotated[
        float | None, typer.Option(help="Tokens for each parameter, instead of the study file's number.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of initial weights and data order.")] = 0,
    out: Annotated[Path, typer.Option(help="Where the configuration goes; the checkpoint beside it.")] = Path(
        "recipe.toml"
    ),
    device: Device = None,
) -> None:
    """Run the recipe, as one searches by hand: depth by measured speed, five learning rates, one long run.

    Example: lilm-search recipe --study babylm --out recipe.toml
    """
    from dataclasses import replace

    from rich.console import Console

    from model.errors import SettingsError, StoppedError
    from search.cli.progress import preparation_bars
    from search.common.errors import StudyFileError
    from search.common.signals import StopRequest
    from search.retrain.train import search_by_hand
    from search.study import study_file as studyfile

    plan = studyfile.read(study)
    if tokens_per_param is not None:
        try:
            plan = replace(plan, recipe=replace(plan.recipe, tokens_per_param=tokens_per_param))
        except SettingsError as error:
            raise StudyFileError(f"--tokens-per-param: {error}") from None
    chosen, stop = pick_device(device), StopRequest()
    stop.install()
    with preparation_bars(Console()) as progress:
        try:
            search_by_hand(plan, budget, seed, out, chosen, stop, progress, typer.echo)
        except StoppedError:
            raise typer.Exit(130) from None


@app.command()
def sample(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint, a bundle (best.zip) or a folder of safetensors.")],
    prompt: Annotated[str, typer.Option(help="Text that the model continues.")] = "",
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens to generate.")] = 100,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=1, help="Tokens to choose among.")] = 50,
    seed: Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the choice of tokens.")] = 0,
    device: Device = None,
) -> None:
    """Generate text from a prompt with a trained model.

    Example: lilm-search sample --checkpoint best.pt --prompt "the "
    """
    from model.formats.load import load
    from model.sample import prompt_ids
    from model.sample import sample as generate

    loaded = load(checkpoint, pick_device(device))
    length, context = len(prompt_ids(loaded.tokenizer, prompt)), loaded.network.config.context
    if length > context:
        note = f"note: the prompt has {length - 1:,} tokens, and the model sees {context:,} back: only its end counts"
        typer.echo(note, err=True)
    text = generate(loaded, prompt, max_tokens=tokens, temperature=temperature, top_k=top_k, seed=seed)
    typer.echo(prompt + text)


@app.command()
def serve(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint, a bundle (best.zip) or a folder of safetensors.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port on 127.0.0.1; 0: any free one.")] = 8000,
    device: Device = None,
) -> None:
    """Serve a trained model on this machine as OpenAI's /v1/completions, streaming included.

    Example: lilm-search serve --checkpoint best.zip
    """
    from model.formats.load import load
    from search.common.signals import StopRequest
    from search.serve.server import serve as serve_model
    from search.serve.writer import Writer

    loaded, stop = load(checkpoint, pick_device(device)), StopRequest()
    stop.install()
    serve_model(Writer(loaded), checkpoint.stem, port, stop, typer.echo)
