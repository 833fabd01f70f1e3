"""What `lilm-search` alone says: what there is, and what to do next. Quick: no torch, no Optuna, no server started."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from search.common import paths
from search.common.next_commands import State, command, next_commands

if TYPE_CHECKING:
    from storage.server.quick_look import StudyCounts

MOST = 8
"""Studies that are listed, the latest."""
FIRST = f"""\
Nothing has been searched here yet. A whole small search, minutes on a CPU:

  {command("first study")}

On your own text: this looks at it and at this machine, and writes a study file
for you to read and change:

  {command("own study")}"""
ANOTHER = f"A study of your own: {command('own study')}"
HELP = """\
Commands:            lilm-search --help; of one: lilm-search start --help
Shipped studies:     lilm-search studies
Something is wrong:  lilm-search doctor
Names after TAB:     lilm-search --install-completion"""


def welcome(url: str | None) -> str:
    """Return the text, for the storage named by the environment or this machine's own."""
    folder = paths.checkout() / "docs"
    where = f"\nDocumentation:       {folder}" if folder.is_dir() else ""  # in a checkout
    return f"{_state(url)}\n\n{HELP}{where}"


def _state(url: str | None) -> str:
    from storage.server import quick_look as glance

    where = None
    try:
        where = glance.url_settings(url) if url else glance.embedded_settings(paths.home() / "postgres")
        found = glance.studies(where) if where else []
    except Exception as error:  # this text must come, whatever ails the server
        return f"{_server(url)} can't be looked into: {_reason(error)}\nWhat is wrong: lilm-search doctor"
    if found:
        return _listed(found)
    if where is None and (earlier := earlier_studies()):
        return _asleep(earlier)
    return FIRST


def _server(url: str | None) -> str:
    return "The database of LILM_SEARCH_STORAGE" if url else "This machine's own database"


def _reason(error: Exception) -> str:
    from storage.errors import first_line
    from storage.redaction import redact

    return redact(first_line(error))


def _listed(found: Sequence["StudyCounts"]) -> str:
    width = max(len(g.name) for g in found)
    lines = [f"  {g.name:<{width}}  {state(g)}\n  {'':<{width}}  {_next(g)}" for g in found[-MOST:]]
    head = f"Studies (the latest {MOST} of {len(found)}):" if len(found) > MOST else "Studies:"
    return "\n".join([head, *lines, "", ANOTHER])


def state(seen: "StudyCounts") -> str:
    """Return where a study stands, in a line."""
    parts = [f"{seen.proxies} of {seen.asked} proxies" if seen.asked else f"{seen.proxies} proxies"]
    parts += [f"{seen.confirmed} confirmation runs" + (f", {seen.to_confirm} to come" if seen.to_confirm else "")]
    ended = "finished" if seen.over else "nobody works on it"
    parts.append(f"{seen.workers} worker{'s' * (seen.workers != 1)} at it" if seen.workers else ended)
    return "; ".join(parts)


def _next(seen: "StudyCounts") -> str:
    state = State(over=seen.over, worked_on=bool(seen.workers), confirmed=bool(seen.confirmed))
    return next_commands("welcome", seen.name, state)[0]


def earlier_studies() -> list[str]:
    """Return the studies whose workers have run here, by their logs: the server is not started to be asked."""
    try:
        return sorted(f.name for f in paths.logs(".").resolve().iterdir() if f.is_dir())
    except OSError:
        return []


def _asleep(names: Sequence[str]) -> str:
    lines = [f"  {command('status', study=name)}" for name in names[-MOST:]]
    said = "Studies that have run here; their database starts when it is asked:"
    return "\n".join([said, *lines, "", ANOTHER])


def storage_url() -> str | None:
    """Return the storage that the environment names."""
    from_file = os.environ.get("LILM_SEARCH_STORAGE_FILE")
    return os.environ.get("LILM_SEARCH_STORAGE") or (f"file:{from_file}" if from_file else None)
