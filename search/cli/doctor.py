"""The command `doctor`."""

from functools import partial
from typing import Annotated

import typer

from search.cli.completion import studies
from search.cli.options import Device, Storage, pick_device
from search.study.connection import open_database

app = typer.Typer()


@app.command()
def doctor(
    storage: Storage = None,
    study: Annotated[
        str | None,
        typer.Option(help="Also check whether this machine could work on this study.", autocompletion=studies),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Also check this text: a path, a glob, hf:ORG/NAME.")] = None,
    column: Annotated[str, typer.Option(help="Column of that text.")] = "text",
    device: Device = None,
    train: Annotated[
        bool, typer.Option("--gpu", help="Also train on the device for up to a minute: self-test, tokens/s, MFU.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what is wrong with this machine, its GPU, the database, a text or a study, and what cures it.

    Exit code 1 where something is bad. Example: lilm-search doctor --study babylm
    """
    from rich.console import Console

    from model.config import DataConfig
    from search.doctor import database, gpu, text, training
    from search.doctor import study as of_study
    from search.doctor import system as machine
    from search.doctor.finding import as_table, examine, summary, table, worst_first
    from search.study.study_file import local_source
    from storage.server.address import stored_url

    opening = partial(open_database, storage, "doctor")
    kind = "PostgreSQL" if storage or stored_url() else "embedded PostgreSQL"
    checks = [*gpu.checks(), *database.checks(opening, kind), *machine.checks()]
    if study:
        checks += of_study.checks(opening, study, partial(pick_device, device))
    if data:
        checks += text.checks(DataConfig(source=local_source(data), column=column))
    findings = examine(checks)
    if train:  # after the others, which would disturb its timing
        findings = worst_first([*findings, *examine(training.checks(opening, study, partial(pick_device, device)))])
    if json:
        import json as encoder

        typer.echo(encoder.dumps(as_table(findings), indent=2))
    else:
        console = Console()
        console.print(table(findings), highlight=False)
        console.print(f"\n{summary(findings)}", highlight=False)
    if any(f.state == "BAD" for f in findings):
        raise typer.Exit(1)
