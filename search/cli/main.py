"""The command line: parses, calls, prints. Heavy imports wait inside the commands, so that --help is quick."""

import atexit
import gc
import os
import sys
import traceback
from typing import Annotated

import typer

from search.cli import cloud, doctor, export, replay, report, start, status, study_files, train

app = typer.Typer(
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Find the best small language model that a fixed training time can buy, and know how sure to be of it.",
    epilog="Start with: lilm-search start --study quickstart. TAB completes the names of studies once "
    "lilm-search --install-completion has been run and the shell started anew.",
)
for part in (study_files, start, status, report, replay, export, train, cloud, doctor):
    app.add_typer(part.app)
app.add_typer(study_files.studies_app, name="studies")
app.add_typer(cloud.credential_app, name="credential")


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
        from search.cli.welcome import storage_url, welcome

        typer.echo(welcome(storage_url()))


QUICK = ("artifacts", "export", "fleet", "leaderboard", "race", "report", "status", "studies", "sweep")
"""Commands that read, print and end: what they import lives as long as they do, and garbage collection among it would
take a quarter of their time."""


def main() -> None:
    """Run the command line; a person's mistake ends in a line or two, never in a traceback."""
    from search.cli.error_messages import ending, refuse_unusable
    from storage.redaction import guard_streams, hide_given

    guard_streams()
    hide_given([*sys.argv[1:], os.environ.get("LILM_SEARCH_STORAGE"), os.environ.get("LILM_SEARCH_STORAGE_FILE")])
    try:
        refuse_unusable(sys.argv[1:])
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


def run() -> None:
    """Run the command line as a process of its own, which ends with it."""
    if sys.argv[1:2] and sys.argv[1] in QUICK and "--watch" not in sys.argv:
        gc.disable()
        atexit.register(gc.freeze)  # else all is gone through once more at the end
    main()
