"""The command grade: what models write, graded by a judge and counted."""

from pathlib import Path
from typing import Annotated, Any

import typer

from search.cli.completion import studies
from search.cli.options import MOST_SEED, Device, Storage, pick_device
from search.study.connection import open_database

app = typer.Typer()


@app.command()
def grade(
    prompts: Annotated[
        str, typer.Option(help="File with the prompts: .txt, one on each line, or .jsonl with `prompt` on each line.")
    ],
    study: Annotated[
        str | None,
        typer.Option(
            help="A study in the database: its confirmed models whose weights are stored.", autocompletion=studies
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint, bundle or folder, beside a study's; may be repeated.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="Base of an OpenAI-compatible API, such as http://localhost:8080/v1; without it, what can be counted."
        ),
    ] = None,
    judge_model: Annotated[str | None, typer.Option(help="The judge's model, by its name there.")] = None,
    judge_key: Annotated[
        Path | None,
        typer.Option(
            "--judge-key-file",
            envvar="LILM_SEARCH_JUDGE_KEY_FILE",
            show_envvar=True,
            help="A private file that holds the judge's key; or set LILM_SEARCH_JUDGE_KEY to the key.",
        ),
    ] = None,
    judge_options: Annotated[
        str | None,
        typer.Option(help='More fields of each request, as JSON: \'{"temperature": 0, "max_tokens": 200}\'.'),
    ] = None,
    usd_per_million_tokens: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="IN OUT", help="The judge's prices, for tokens of the request and of the answer."),
    ] = None,
    max_usd: Annotated[float | None, typer.Option(min=0, help="Most dollars for the judge in this run.")] = None,
    max_requests: Annotated[int | None, typer.Option(min=0, help="Most requests to the judge in this run.")] = None,
    parallel: Annotated[int, typer.Option(min=1, max=64, help="Questions to the judge at a time.")] = 4,
    samples: Annotated[int, typer.Option(min=1, help="Completions of each prompt.")] = 3,
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a completion.")] = 200,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the likeliest token each time.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=1, help="Tokens to choose among.")] = 50,
    seed: Annotated[
        int, typer.Option(min=0, max=MOST_SEED, help="Seed of the samples, and of the order in which they are judged.")
    ] = 0,
    top: Annotated[int | None, typer.Option(min=1, help="Only the best so many of a study's models.")] = None,
    every_run: Annotated[
        bool, typer.Option("--every-run", help="Every confirmation run, not only each configuration's best.")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="Where the training text is here, whose words are known: a path, hf:ORG/NAME.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also draw all measures into an HTML file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the samples go, a line of JSON each; the default is NAME-samples.jsonl.")
    ] = None,
    device: Device = None,
    storage: Storage = None,
) -> None:
    """Let models write after prompts: a judge's grades for grammar, creativity, consistency and plot, and counts.

    Example: lilm-search grade --study quickstart --prompts prompts.txt --judge http://localhost:8080/v1 --judge-model M
    """
    from rich.console import Console

    from model.errors import StoppedError
    from search.cli.progress import counting_bars
    from search.common import out_file, paths
    from search.common.errors import SearchError
    from search.common.signals import StopRequest
    from search.grade import grade as grading
    from search.grade.prompts import read_prompts
    from search.grade.results import as_json as json_of
    from search.grade.results import lines
    from search.grade.view import terminal, write_figure
    from search.grade.writing import SampleSettings

    if study is None and not checkpoint:
        raise SearchError("nothing to grade: name a study with --study, or models' files with --checkpoint")
    if study is None and (top is not None or every_run):
        raise SearchError("--top and --every-run choose among a study's models: name it with --study")
    beginnings, settings = (
        read_prompts(prompts),
        SampleSettings(samples=samples, tokens=tokens, temperature=temperature, top_k=top_k, seed=seed),
    )
    out = out or Path(f"{Path(study or prompts).stem}-samples.jsonl")
    out_file.check(out)
    if html:
        out_file.check(html, "--html")
    console = Console(stderr=True)
    asking = _asking(
        judge,
        judge_model,
        judge_key,
        judge_options,
        usd_per_million_tokens,
        max_usd,
        max_requests,
        parallel,
        lambda reason, seconds: console.print(f"judge: {reason}; waiting {seconds:.0f} s", markup=False),
    )
    authors, text = _authors(study, storage, checkpoint or [], top, every_run, pick_device(device))
    stop = StopRequest()
    stop.install()
    try:
        with counting_bars(console) as on_stage:
            results = grading.grade(
                authors,
                beginnings,
                settings,
                data=text,
                source=data,
                asking=asking,
                cache=paths.cache(),
                should_stop=stop,
                on_stage=on_stage,
            )
    except StoppedError:
        typer.echo("stopped; what was written and answered is kept: the same command goes on", err=True)
        raise typer.Exit(130) from None
    finally:
        if asking is not None:
            asking.judge.close()
    out_file.write(out, "".join(lines(results)))
    if as_json:
        typer.echo(json_of(results))
    else:
        Console().print(terminal(results), highlight=False)
    typer.echo(f"samples: {out}", err=as_json)
    if html:
        write_figure(results, html, f"What {Path(study).stem}'s models write" if study else "What models write")
        typer.echo(f"figure: {html}", err=as_json)


def _asking(
    judge: str | None,
    model: str | None,
    key_file: Path | None,
    options: str | None,
    prices: tuple[float, float] | None,
    max_usd: float | None,
    max_requests: int | None,
    parallel: int,
    on_pause: Any,
) -> Any:
    """Return the judge and its caps, from the options; None without --judge."""
    import os

    from search.common.errors import SearchError
    from search.grade.grade import Asking
    from search.grade.judge import KEY, Judge, chat_address, checked_key, checked_options, in_clear
    from search.grade.spending import Prices, Spending
    from storage.server.address import read_secret

    if judge is None:
        if model or options or prices or max_usd is not None or max_requests is not None:
            raise SearchError("options of a judge are given, but no judge: name its address with --judge")
        return None
    address = chat_address(judge)
    if not model:
        raise SearchError(f"--judge {judge} needs --judge-model, the name of the model there that is to grade")
    spending = Spending(Prices(*prices) if prices else None, max_usd, max_requests)
    key = checked_key(read_secret(key_file.expanduser()) if key_file else os.environ.get(KEY))
    if key and in_clear(address):
        typer.echo("warning: the judge's key crosses the network unencrypted; use https://", err=True)
    asked = Judge(address, model, key, checked_options(options), on_pause=on_pause)
    return Asking(judge=asked, spending=spending, parallel=parallel)


def _authors(
    study: str | None, storage: str | None, files: list[Path], top: int | None, every_run: bool, device: Any
) -> tuple[list[Any], Any]:
    """Return the models that write, a study's first, and the study's text."""
    from search.grade.authors import authors_of_files, authors_of_study
    from search.study.study import load_study

    authors, data = authors_of_files(files, device), None
    if study is not None:
        with open_database(storage, "grade") as database:
            opened = load_study(database, study)
            own = authors_of_study(opened, device, top, every_run, lambda line: typer.echo(line, err=True))
            authors, data = own + authors, opened.plan.data
    return authors, data
