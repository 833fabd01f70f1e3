"""The command line: parses, calls, prints. Heavy imports wait inside the commands, so that --help is quick."""

import sys
import traceback

import typer

from search import (
    cli_artifacts,
    cli_credential,
    cli_evaluate,
    cli_export,
    cli_fleet,
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
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Find the best small language model that a fixed training time can buy, and know how sure to be of it.",
    epilog="Start with: lilm-search start --study quickstart",
)
for part in (
    *(cli_start, cli_show, cli_report, cli_plot, cli_leaderboard, cli_race, cli_replay),
    *(cli_export, cli_train, cli_verify, cli_evaluate, cli_artifacts),
    *(cli_fleet, cli_machine),
):
    app.add_typer(part.app)
app.add_typer(cli_studies.app, name="studies")
app.add_typer(cli_credential.app, name="credential")


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
