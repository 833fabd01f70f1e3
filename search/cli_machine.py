"""The commands about this machine."""

import typer

from search.options import Storage, open_database

app = typer.Typer()


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
