"""The commands that bring results to this machine: export and artifacts."""

from pathlib import Path
from typing import Annotated

import typer

from search.cli.completion import completion_of
from search.cli.options import Storage, Study
from search.study.connection import open_database

app = typer.Typer()
QUANTIZE = ("f32", "f16", "q8_0")
"""The same as `QUANTIZATIONS` of `model.formats.gguf_file`, which imports torch."""


@app.command()
def export(
    study: Study,
    storage: Storage = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="toml, json, yaml or python.",
            autocompletion=completion_of("toml", "json", "yaml", "python"),
        ),
    ] = "toml",
    top: Annotated[
        int | None, typer.Option(min=1, help="Number of best configurations to export, each with its rank.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Write this zip: weights, tokenizer, evidence, model card, checksums.")
    ] = None,
    huggingface: Annotated[
        Path | None, typer.Option(help="Write a new folder with the same files, which Hugging Face can host.")
    ] = None,
    gguf: Annotated[Path | None, typer.Option(help="Write this file for llama.cpp, if it can run the network.")] = None,
    quantize: Annotated[
        str,
        typer.Option(help="Precision of matrices in --gguf: f32, f16, q8_0.", autocompletion=completion_of(*QUANTIZE)),
    ] = "f16",
    web: Annotated[
        Path | None,
        typer.Option(help="Write a page in which a browser runs the model: a new folder, or a file ending in .zip."),
    ] = None,
    runtime: Annotated[
        Path | None, typer.Option(help="Folder with the npm package that --web needs, instead of asking npm for it.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights of that configuration, if the study hasn't stored them.")
    ] = None,
) -> None:
    """Print the best confirmed configuration, with its evidence; or write it with its weights.

    Example: lilm-search export --study babylm --bundle best.zip
    """
    from search.analysis.snapshot import read
    from search.common.errors import SearchError
    from search.common.out_file import check
    from search.export.export import best_export, render, top_export, write
    from search.study.study import load_study
    from storage.redaction import print_file

    with_weights = any(place is not None for place in (bundle, huggingface, gguf, web))
    if (reason := _contradiction(with_weights, weights, top, quantize, gguf, runtime, web)) is not None:
        raise SearchError(reason)
    if out:
        check(out)
    with open_database(storage, "export") as database:
        snapshot = read(load_study(database, study))
        if with_weights:
            from search.export.bundle import Places, write_release  # which imports torch

            write_release(snapshot, weights, Places(bundle, huggingface, gguf, quantize, web, runtime), typer.echo)
        if out or not with_weights:
            table = top_export(snapshot, top) if top else best_export(snapshot)
    if out:
        write(out, table, form)
        typer.echo(f"written: {out}")
    elif not with_weights:
        print_file(render(table, form))


def _contradiction(
    with_weights: bool,
    weights: Path | None,
    top: int | None,
    quantize: str,
    gguf: Path | None,
    runtime: Path | None,
    web: Path | None,
) -> str | None:
    """Return what is wrong with options that don't go together, and what to do; None if nothing is."""
    if weights and not with_weights:
        return (
            "--weights is for what holds weights: add --bundle best.zip, --huggingface FOLDER, --gguf best.gguf or "
            "--web FOLDER"
        )
    if quantize not in QUANTIZE:
        return f'--quantize is "{quantize}", but must be one of {", ".join(QUANTIZE)}'
    if quantize != "f16" and gguf is None:
        return f'--quantize is "{quantize}", but only --gguf has a choice; add --gguf best.gguf'
    if runtime is not None and web is None:
        return f"--runtime is {runtime}, but only a page has a runtime; add --web FOLDER"
    if top and with_weights:
        return "--top is for settings alone, and what holds weights holds the best; leave --top out"
    return None


@app.command()
def artifacts(
    study: Study,
    storage: Storage = None,
    trial: Annotated[int | None, typer.Option(help="Only files of this proxy trial.")] = None,
    confirmation: Annotated[int | None, typer.Option(help="Only files of this confirmation run.")] = None,
    get: Annotated[str | None, typer.Option(help="Name of the file to bring here.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; the default is its own name, in this folder.")
    ] = None,
) -> None:
    """List a study's files: weights, samples, traces of errors, tokenizers; or bring one here.

    Example: lilm-search artifacts --study babylm --get confirm-3.pt
    """
    from search.export.download import download_file, listing
    from search.study.study import load_study

    with open_database(storage, "artifacts") as database:
        opened = load_study(database, study)
        if get:
            typer.echo(f"{get}: {download_file(opened, get, trial, confirmation, out or Path(get))}")
        else:
            for line in listing(opened, trial, confirmation):
                typer.echo(line)
