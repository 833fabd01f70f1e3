"""What to type next: the command lines suggested for a study, and the places where each is suggested."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

COMMANDS: Mapping[str, str] = {
    "start": "lilm-search start --study {study}",
    "worker": "lilm-search worker --study {study}",
    "status": "lilm-search status --study {study}",
    "dashboard": "lilm-search dashboard --study {study}",
    "race": "lilm-search race --study {study}",
    "promote": "lilm-search promote --study {study} --trial {trial}",
    "sweep": "lilm-search sweep --study {study}",
    "plot": "lilm-search plot --study {study}",
    "report": "lilm-search report --study {study}",
    "export": "lilm-search export --study {study} > best.toml",
    "verify": "lilm-search verify --study {study}",
    "train": "lilm-search train --config best.toml",
    "train and keep": "lilm-search train --config best.toml --out best.pt",
    "sample": 'lilm-search sample --checkpoint best.pt --prompt "the "',
    "show": "lilm-search studies show {study}",
    "first study": "lilm-search start --study quickstart",
    "own study": "lilm-search init --data 'texts/*.jsonl' --out my.toml",
}


@dataclass(frozen=True, kw_only=True)
class State:
    """The state of a study that decides which commands are suggested."""

    over: bool = False
    """Whether all its trials and runs have ended."""
    worked_on: bool = False
    """Whether a worker is running on it."""
    sweep: bool = False
    """Whether it is a grid instead of a search."""
    confirmed: bool = False
    """Whether there is a confirmed configuration."""


When = Callable[[State], bool]


def _always(state: State) -> bool:
    return True


def _unfinished(state: State) -> bool:
    return not state.over


def _sweep(state: State) -> bool:
    return state.sweep


def _sweep_alone(state: State) -> bool:
    return state.sweep and not state.confirmed


def _search(state: State) -> bool:
    return not _sweep_alone(state)


def _confirmed(state: State) -> bool:
    return state.confirmed


def _nothing_confirmed(state: State) -> bool:
    return not state.confirmed


SUGGESTED: Mapping[str, tuple[tuple[When, tuple[str, ...]], ...]] = {
    "init": ((_always, ("show", "start")),),
    "start": (
        (_unfinished, ("start", "worker")),
        (_always, ("status", "dashboard")),
        (_sweep, ("sweep", "plot")),
        (_confirmed, ("report", "export", "train and keep", "sample")),
    ),
    "note": (
        (_sweep_alone, ("sweep",)),
        (_search, ("status", "race")),
        (_confirmed, ("report", "export", "train")),
    ),
    "report": (
        (_nothing_confirmed, ("start", "status")),
        (_confirmed, ("export", "train and keep", "verify", "sample")),
    ),
    "welcome": (
        (lambda state: state.worked_on, ("status",)),
        (lambda state: not state.worked_on and state.over and state.confirmed, ("export",)),
        (lambda state: not state.worked_on and state.over and not state.confirmed, ("status",)),
        (lambda state: not state.worked_on and not state.over, ("start",)),
    ),
}
"""Suggested commands by place: after `init` and `start`, in a dashboard's note, a report, after bare `lilm-search`."""


def command(name: str, **values: object) -> str:
    """Return one of the command lines, filled in."""
    return COMMANDS[name].format(**values)


def next_commands(where: str, study: object, state: State = State()) -> list[str]:
    """Return the command lines that are suggested at this place for a study in this state."""
    return [command(name, study=study) for when, names in SUGGESTED[where] if when(state) for name in names]
