"""The command line: parses, calls, prints. Heavy imports wait inside the commands, so that --help is quick."""

import os
import sys
import traceback
from typing import Annotated

import typer

from search import (
    cli_artifacts,
    cli_credential,
    cli_evaluate,
    cli_export,
    cli_fleet,
    cli_init,
    cli_leaderboard,
    cli_machine,
    cli_plot,
    cli_race,
    cli_replay,
    cli_report,
    cli_show,
    cli_start,
    cli_studies,
    cli_train,
    cli_verify,
)

app = typer.Typer(
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Find the best small language model that a fixed training time can buy, and know how sure to be of it.",
    epilog="Start with: lilm-search start --study quickstart. TAB completes the names of studies once "
    "lilm-search --install-completion has been run and the shell started anew.",
)
for part in (
    *(cli_init, cli_start, cli_show, cli_report, cli_plot, cli_leaderboard, cli_race, cli_replay),
    *(cli_export, cli_train, cli_verify, cli_evaluate, cli_artifacts),
    *(cli_fleet, cli_machine),
):
    app.add_typer(part.app)
app.add_typer(cli_studies.app, name="studies")
app.add_typer(cli_credential.app, name="credential")


@app.callback()
def alone(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Say what to do next, where no command is given."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"lilm-search {installed('lilm-search')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        from search.welcome import storage_url, welcome

        typer.echo(welcome(storage_url()))


def main() -> None:
    """Run the command line; a person's mistake ends in a line or two, never in a traceback. Codes: `search.endings`."""
    from search.endings import ending
    from search.usage import refuse_empty
    from storage.redaction import guard_streams, keep_given

    guard_streams()
    keep_given([*sys.argv[1:], os.environ.get("LILM_SEARCH_STORAGE"), os.environ.get("LILM_SEARCH_STORAGE_FILE")])
    try:
        refuse_empty(sys.argv[1:])
        code = app(prog_name="lilm-search", standalone_mode=False)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        code, message = ending(error)
        sys.stdout.flush()
        if message is None:
            traceback.print_exc()
        elif message:
            typer.echo(f"error: {message}", err=True)
        raise SystemExit(code) from None
    raise SystemExit(code if isinstance(code, int) else 0)
