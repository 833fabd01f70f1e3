"""The command line. Slow imports are inside the commands, so that --help is quick."""

import atexit
import gc
import os
import sys
import traceback
from typing import Annotated

import typer

from search.cli import cloud, doctor, export, grade, merge, replay, report, start, status, study_files, train

app = typer.Typer(
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Find the best small language model that a fixed training time can buy, and know how sure to be of it.",
    epilog="Start with: lilm-search start --study quickstart. TAB completes the names of studies once "
    "lilm-search --install-completion has been run and the shell started anew.",
)
for module in (study_files, start, status, report, replay, export, merge, train, grade, cloud, doctor):
    app.add_typer(module.app)
app.add_typer(study_files.studies_app, name="studies")
app.add_typer(cloud.credential_app, name="credential")


@app.callback()
def without_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False,
) -> None:
    """Print what to do next, if no command is given."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"lilm-search {installed('lilm-search')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        from search.cli.welcome import storage_url, welcome

        typer.echo(welcome(storage_url()))


QUICK = ("artifacts", "export", "fleet", "leaderboard", "race", "report", "status", "studies", "sweep")
"""Commands that read, print and end. Garbage collection is off for them: it would take a quarter of their time, and
would find little, since imported modules live as long as the command."""


def main() -> None:
    """Run the command line; a user's mistake ends in a line or two, never in a traceback."""
    from search.cli.error_messages import exit_code_and_message, refuse_unusable
    from storage.redaction import guard_streams, hide_given

    guard_streams()
    hide_given([*sys.argv[1:], os.environ.get("LILM_SEARCH_STORAGE"), os.environ.get("LILM_SEARCH_STORAGE_FILE")])
    try:
        refuse_unusable(sys.argv[1:])
        code = app(prog_name="lilm-search", standalone_mode=False)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        code, message = exit_code_and_message(error)
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
        atexit.register(gc.freeze)  # otherwise all objects would be collected at exit
    main()
