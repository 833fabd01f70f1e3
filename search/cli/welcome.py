"""The text of `lilm-search` without a command: the studies, and what to type next.

It is quick: torch and Optuna aren't imported, and no server is started.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.common import paths
from search.common.next_commands import State, command, next_commands

if TYPE_CHECKING:
    from storage.server.quick_look import StudyCounts

MOST_LISTED = 8
"""Most studies that are listed, the latest."""
NO_STUDIES = f"""\
Nothing has been searched here yet. A whole small search, minutes on a CPU:

  {command("first study")}

On your own text: this looks at it and at this machine, and writes a study file
for you to read and change:

  {command("own study")}"""
OWN_STUDY = f"A study of your own: {command('own study')}"
HELP = """\
Commands:            lilm-search --help; of one: lilm-search start --help
Shipped studies:     lilm-search studies
Something is wrong:  lilm-search doctor
Names after TAB:     lilm-search --install-completion"""


def welcome(url: str | None) -> str:
    """Return the text; `url` is the storage that the environment names, None for this machine's own."""
    folder = paths.checkout() / "docs"
    documentation = f"\nDocumentation:       {folder}" if folder.is_dir() else ""  # in a checkout
    return f"{_studies_text(url)}\n\n{HELP}{documentation}"


def _studies_text(url: str | None) -> str:
    from storage.server import quick_look

    server = None
    try:
        server = quick_look.url_settings(url) if url else quick_look.embedded_settings(paths.home() / "postgres")
        studies = quick_look.studies(server) if server else []
    except Exception as error:  # whatever is wrong with the server, this text must be shown
        return f"{_database_name(url)} can't be looked into: {_reason(error)}\nWhat is wrong: lilm-search doctor"
    if studies:
        return _study_list(studies)
    if server is None and (earlier := earlier_studies()):
        return _without_server(earlier)
    return NO_STUDIES


def _database_name(url: str | None) -> str:
    return "The database of LILM_SEARCH_STORAGE" if url else "This machine's own database"


def _reason(error: Exception) -> str:
    from storage.errors import first_line
    from storage.redaction import redact

    return redact(first_line(error))


def _study_list(studies: Sequence["StudyCounts"]) -> str:
    width = max(len(g.name) for g in studies)
    lines = [f"  {g.name:<{width}}  {study_state(g)}\n  {'':<{width}}  {_next(g)}" for g in studies[-MOST_LISTED:]]
    head = f"Studies (the latest {MOST_LISTED} of {len(studies)}):" if len(studies) > MOST_LISTED else "Studies:"
    return "\n".join([head, *lines, "", OWN_STUDY])


def study_state(study: "StudyCounts") -> str:
    """Return a study's state on one line."""
    parts = [f"{study.proxies} of {study.asked} proxies" if study.asked else f"{study.proxies} proxies"]
    parts += [f"{study.confirmed} confirmation runs" + (f", {study.to_confirm} to come" if study.to_confirm else "")]
    ended = "finished" if study.over else "no worker is running"
    parts.append(f"{study.workers} worker{'s' * (study.workers != 1)} at it" if study.workers else ended)
    return "; ".join(parts)


def _next(study: "StudyCounts") -> str:
    state = State(over=study.over, worked_on=bool(study.workers), confirmed=bool(study.confirmed))
    return next_commands("welcome", study.name, state)[0]


def earlier_studies() -> list[str]:
    """Return the studies whose workers have run on this machine, known from their logs without starting the server."""
    try:
        return sorted(f.name for f in paths.logs(".").resolve().iterdir() if f.is_dir())
    except OSError:
        return []


def _without_server(names: Sequence[str]) -> str:
    lines = [f"  {command('status', study=name)}" for name in names[-MOST_LISTED:]]
    heading = "Studies that have run here; their database starts when it is asked:"
    return "\n".join([heading, *lines, "", OWN_STUDY])


def storage_url() -> str | None:
    """Return the storage that the environment names; None if it names none."""
    from_file = os.environ.get("LILM_SEARCH_STORAGE_FILE")
    return os.environ.get("LILM_SEARCH_STORAGE") or (f"file:{from_file}" if from_file else None)
