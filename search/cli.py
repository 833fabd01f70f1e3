"""The command line: parses, calls, prints. Heavy imports wait inside the commands, so that --help is quick."""

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

import typer

from search import cli_artifacts, cli_credential, cli_fleet, cli_race, cli_replay, cli_train, cli_verify
from search.options import Device, Storage, Study, open_database, pick_device

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Find the best small language model that a fixed training time can buy, and know how sure to be of it.",
    epilog="Start with: lilm-search start --study quickstart",
)
studies_app = typer.Typer(invoke_without_command=True, help="List the shipped study files, or show one settled.")
app.add_typer(studies_app, name="studies")
app.add_typer(cli_train.app)
app.add_typer(cli_race.app)
app.add_typer(cli_artifacts.app)
app.add_typer(cli_fleet.app)
app.add_typer(cli_replay.app)
app.add_typer(cli_verify.app)
app.add_typer(cli_credential.app, name="credential")


@studies_app.callback()
def studies(context: typer.Context) -> None:
    """List the shipped study files.  Example: lilm-search studies"""
    if context.invoked_subcommand is not None:
        return
    from search import studyfile

    for name in studyfile.shipped():
        plan = studyfile.read(name)
        typer.echo(f"{name:<16} {plan.description}")


@studies_app.command("show")
def studies_show(
    name: Annotated[str, typer.Argument(help="A shipped study, or a study file's path.")],
) -> None:
    """Print a study file settled, defaults included.  Example: lilm-search studies show babylm"""
    from search import studyfile

    typer.echo(studyfile.read(name).toml(), nl=False)


@app.command()
def start(
    study: Study = "quickstart",
    storage: Storage = None,
    data: Annotated[str | None, typer.Option(help="Other text: a path, a glob, hf:ORG/NAME or builtin.")] = None,
    column: Annotated[str | None, typer.Option(help="Column of that text.")] = None,
    rename: Annotated[str | None, typer.Option("--as", help="Name the study otherwise than its file.")] = None,
    trials: Annotated[int | None, typer.Option(help="Proxy trials, instead of the study file's number.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Workers here; the default is one per GPU or core.")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="Dollars for all workers of the study, from its beginning; 0: no cap.")
    ] = None,
) -> None:
    """Open or resume a study, start this machine's workers, show progress, end with a leaderboard.

    Example: lilm-search start --study babylm
    """
    from rich.console import Console

    from search.console import LiveDisplay, preparing
    from search.fleet import slots
    from search.preparation import prepare_all
    from search.shared import fetch, share
    from search.start import asked_plan, run_workers, with_cap
    from search.stop import StopRequest
    from search.study import open_study

    console = Console()
    stop = StopRequest()
    with open_database(storage, "start") as database:
        plan = with_cap(database, asked_plan(database, study, data, column, rename, trials), max_usd, say=typer.echo)
        stop.install()
        fetch(database, plan.name)
        with preparing(console) as progress:
            prepare_all(plan, progress, stop)
        if stop():
            raise typer.Exit(130)
        opened = open_study(database, plan)
        share(opened)
        display = LiveDisplay(console)
        display.know(opened)
        with display:
            run_workers(opened, slots(workers) if workers != 0 else [], storage, display, stop)
        _print_summary(console, opened)
        _print_next(console, opened)
    if stop():
        raise typer.Exit(130)


def _print_summary(console: Any, opened: Any) -> None:
    from search.console import summary
    from search.results import confirmed
    from search.shared import shared_corpus

    found = confirmed(opened)
    bounds = None
    if found:
        corpus = shared_corpus(opened, opened.plan.configuration(found[0].params).tokenizer, lambda: False)
        bounds = (corpus.uniform_bpb, corpus.unigram_bpb)
    console.print(summary(opened, bounds), highlight=False)


def _print_next(console: Any, opened: Any) -> None:
    from search.results import confirmed

    plan, name = opened.plan, opened.plan.name
    trials = [*opened.proxy_trials(), *opened.confirm_trials()]
    lines = [f"lilm-search status --study {name}", f"lilm-search dashboard --study {name}"]
    if not all(t.state.is_finished() for t in trials):
        lines.insert(0, f"lilm-search worker --study {name}")
    if plan.is_grid:
        lines += [f"lilm-search sweep --study {name} --html {name}.html"]
    if confirmed(opened):
        lines += [
            f"lilm-search export --study {name} > best.toml",
            "lilm-search train --config best.toml --out best.pt",
            'lilm-search sample --checkpoint best.pt --prompt "the "',
        ]
    console.print("\nNext:\n  " + "\n  ".join(lines), highlight=False, markup=False, soft_wrap=True)


@app.command()
def worker(
    study: Study,
    storage: Storage = None,
    device: Device = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of this worker.")] = None,
) -> None:
    """Run one worker of a study that `start` has made; this is what a rented machine runs.

    Example: lilm-search worker --study babylm --storage file:babylm.credential
    """
    import os
    import time
    from functools import partial

    import torch

    from search.fleet import TOKEN, worker_name
    from search.presence import present
    from search.stop import StopRequest
    from search.study import load_study
    from search.worker import Worker

    chosen = pick_device(device)
    if threads:
        torch.set_num_threads(threads)
    stop = StopRequest()
    stop.install()

    def say(line: str) -> None:
        typer.echo(f"{time.strftime('%H:%M:%S')} {line}")

    with open_database(storage, "worker", stop) as database:
        opened, leave = load_study(database, study), partial(os._exit, 130)
        with present(opened, worker_name(os.getpid(), os.environ.get(TOKEN)), chosen) as name:
            Worker(opened, name, chosen, stop, say, leave=leave).run()


@app.command()
def status(study: Study, storage: Storage = None) -> None:
    """Show where a study stands.  Example: lilm-search status --study quickstart"""
    from rich.console import Console

    from search.console import summary
    from search.study import load_study

    with open_database(storage, "status") as database:
        Console().print(summary(load_study(database, study)), highlight=False)


@app.command()
def sweep(
    study: Study,
    storage: Storage = None,
    html: Annotated[Path | None, typer.Option(help="Draw it too, into this one HTML file.")] = None,
) -> None:
    """Show what a grid of runs has found so far; `start` runs it.

    Example: lilm-search sweep --study sweep-latent --html latent.html
    """
    from rich.console import Console

    from search.study import load_study
    from search.sweep import sweep_table, write_figure

    with open_database(storage, "sweep") as database:
        opened = load_study(database, study)
        Console().print(sweep_table(opened), highlight=False)
        if html:
            write_figure(opened, html)
            typer.echo(f"figure: {html}")


@app.command()
def export(
    study: Study,
    storage: Storage = None,
    form: Annotated[str, typer.Option("--format", help="toml, json or yaml.")] = "toml",
) -> None:
    """Print the best confirmed configuration, with its evidence.

    Example: lilm-search export --study babylm --format json
    """
    from search.export import best_export, render
    from search.study import load_study

    with open_database(storage, "export") as database:
        typer.echo(render(best_export(load_study(database, study)), form), nl=False)


@app.command()
def dashboard(
    study: Annotated[str | None, typer.Option(help="The study to point to; without it, all are listed.")] = None,
    storage: Storage = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8080,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine --behind-gateway too.")] = (
        "127.0.0.1"
    ),
    behind_gateway: Annotated[
        bool, typer.Option("--behind-gateway", help="A gateway with TLS and a login stands before it: docs/deploy.md.")
    ] = False,
) -> None:
    """Open optuna-dashboard on the study's storage, on this machine only; reading rights are enough for it.

    Example: lilm-search dashboard --study quickstart
    """
    from search.dashboard import Address, serve
    from search.stop import StopRequest

    address = Address(host=host, port=port, behind_gateway=behind_gateway)
    stop = StopRequest()
    with open_database(storage, "dashboard") as database:
        stop.install()
        serve(database, study, address, stop, typer.echo)


@app.command()
def doctor(storage: Storage = None) -> None:
    """Say what is wrong with this machine, database or GPU.  Example: lilm-search doctor"""
    from search.doctor import examine
    from storage.address import stored_url

    def connect() -> str:
        with open_database(storage, "doctor") as database:
            kind = "PostgreSQL" if storage or stored_url() else "embedded PostgreSQL"
            return f"{kind} {database.server_version()} answers"

    findings = examine(connect)
    for finding in findings:
        typer.echo(f"{'ok  ' if finding.well else 'BAD '} {finding.name:<10} {finding.detail}")
    if not all(f.well for f in findings):
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; a person's mistake ends in one message, never in a traceback. Codes: `search.endings`."""
    from search.endings import ending
    from storage.redaction import guard_streams

    guard_streams()
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        code, message = ending(error)
        sys.stdout.flush()
        if message is None:
            traceback.print_exc()
        else:
            typer.echo(f"error: {message}", err=True)
        raise SystemExit(code) from None
