"""The commands that run a study: start, with this machine's workers, and worker, a single one."""

from typing import Annotated, Any

import typer

from search.cli.options import COMPILE_THREADS, CompiledKey, Device, Storage, Study, pick_device
from search.study.connection import open_database

app = typer.Typer()


@app.command()
def start(
    study: Study = "quickstart",
    storage: Storage = None,
    data: Annotated[str | None, typer.Option(help="Other text: a path, a glob, hf:ORG/NAME or builtin.")] = None,
    column: Annotated[str | None, typer.Option(help="Column of that text.")] = None,
    rename: Annotated[str | None, typer.Option("--as", help="Name of the study; the default is its file's.")] = None,
    trials: Annotated[int | None, typer.Option(help="Proxy trials, instead of the study file's number.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Workers here; the default is one per GPU or core.")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option(min=0, help="Dollars for all workers of the study, from its beginning; 0: no cap.")
    ] = None,
    compiled_key_file: CompiledKey = None,
) -> None:
    """Open or resume a study, start this machine's workers, show progress, end with a leaderboard.

    Example: lilm-search start --study babylm
    """
    from rich.console import Console

    from model.minimal_pairs import read_pairs
    from search.analysis.snapshot import read
    from search.cli.progress import preparation_bars
    from search.cli.start_display import LiveDisplay
    from search.common.compiled_key import hand_on
    from search.common.signals import StopRequest
    from search.machine.preparation import prepare_all
    from search.machine.shared_text import fetch_tokenizers, publish_tokenizers
    from search.machine.slots import slots
    from search.strategy.priming import prime
    from search.study.identity import restore
    from search.study.requested import requested_plan, with_cap
    from search.study.study import open_study
    from search.worker.pool import run_workers

    console = Console()
    stop = StopRequest()
    hand_on(compiled_key_file)
    with open_database(storage, "start") as database:
        plan = with_cap(
            database, requested_plan(database, study, data, column, rename, trials), max_usd, say=typer.echo
        )
        read_pairs(plan.confirm.scores)  # refused before anything runs whose end would need them
        stop.install()
        restore(database, plan.name, typer.echo)  # refused before text is prepared, which may take minutes
        fetch_tokenizers(database, plan.name)
        with preparation_bars(console) as progress:
            prepare_all(plan, progress, stop)
        if stop():
            raise typer.Exit(130)
        opened = open_study(database, plan, typer.echo, prime=prime)
        publish_tokenizers(opened)
        display = LiveDisplay(console)
        display.skip_finished(opened)
        with display:
            run_workers(opened, slots(workers) if workers != 0 else [], storage, display, stop)
        snapshot = read(opened)
        _print_summary(console, opened, snapshot)
        _print_next(console, snapshot)
    if stop():
        raise typer.Exit(130)


def _print_summary(console: Any, opened: Any, snapshot: Any) -> None:
    from search.machine.shared_text import shared_corpus
    from search.show.status.summary import summary

    bounds = None
    if snapshot.confirmed:
        corpus = shared_corpus(opened, opened.plan.configuration(snapshot.confirmed[0].params).tokenizer, lambda: False)
        bounds = (corpus.uniform_bpb, corpus.unigram_bpb)
    console.print(summary(snapshot, bounds), highlight=False)


def _print_next(console: Any, snapshot: Any) -> None:
    from search.common.next_commands import State, next_commands

    over = all(t.state.is_finished() for t in [*snapshot.proxies, *snapshot.runs])
    state = State(over=over, sweep=snapshot.plan.is_grid, confirmed=bool(snapshot.confirmed))
    lines = next_commands("start", snapshot.plan.name, state)
    console.print("\nNext:\n  " + "\n  ".join(lines), highlight=False, markup=False, soft_wrap=True)


@app.command()
def worker(
    study: Study,
    storage: Storage = None,
    device: Device = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of this worker.")] = None,
    compiled_key_file: CompiledKey = None,
) -> None:
    """Run one worker of a study that `start` has made; this is what a rented machine runs.

    Example: lilm-search worker --study babylm --storage file:babylm.credential
    """
    import os
    import time
    from functools import partial

    import torch

    from search.common.compiled_key import compiled_key
    from search.common.signals import StopRequest
    from search.study.study import load_study
    from search.worker.pool import IDENTITY, TOKEN, worker_name
    from search.worker.registration import registered
    from search.worker.worker import Worker

    if threads:
        os.environ.setdefault(COMPILE_THREADS, str(threads))  # read once, when torch first compiles
    key, chosen = compiled_key(compiled_key_file), pick_device(device)
    if threads:
        torch.set_num_threads(threads)
    stop = StopRequest()
    stop.install()

    def say(line: str) -> None:
        typer.echo(f"{time.strftime('%H:%M:%S')} {line}")

    with open_database(storage, "worker", stop) as database:
        opened = load_study(database, study, os.environ.get(IDENTITY, ""))
        leave = partial(os._exit, 130)
        name = worker_name(os.getpid(), os.environ.get(TOKEN))
        with registered(opened, name, chosen):
            Worker(opened, name, chosen, stop, say, compiled_key=key, leave=leave).run()
