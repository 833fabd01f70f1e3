"""What to type next: by hand for each state, and every line is one that the command line takes."""

import shlex

import pytest
import typer

from search.cli.main import app
from search.common.next_commands import COMMANDS, SUGGESTED, State, command, next_commands


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_typed(name: str) -> None:
    """Parsed by the program's own parser, nothing run; the shell's part, `> best.toml`, is left to the shell."""
    words = shlex.split(command(name, study="quickstart", trial=3).split(" > ")[0])
    assert words.pop(0) == "lilm-search"
    group = typer.main.get_command(app)
    while hasattr(group, "commands"):
        group = group.commands[words.pop(0)]
    assert group.make_context(words[0] if words else "", list(words)).params


@pytest.mark.parametrize(
    ("where", "state", "wanted"),
    [
        ("start", State(over=True), ["status", "dashboard"]),
        ("start", State(), ["start", "worker", "status", "dashboard"]),
        ("start", State(over=True, sweep=True), ["status", "dashboard", "sweep", "plot"]),
        (
            "start",
            State(over=True, confirmed=True),
            ["status", "dashboard", "report", "export", "train and keep", "sample"],
        ),
        ("note", State(sweep=True), ["sweep"]),
        ("note", State(sweep=True, confirmed=True), ["status", "race", "report", "export", "train"]),
        ("note", State(), ["status", "race"]),
        ("report", State(), ["start", "status"]),
        ("report", State(confirmed=True), ["export", "train and keep", "verify", "sample"]),
        ("welcome", State(worked_on=True, over=True, confirmed=True), ["status"]),
        ("welcome", State(over=True, confirmed=True), ["export"]),
        ("welcome", State(over=True), ["status"]),
        ("welcome", State(), ["start"]),
        ("init", State(), ["show", "start"]),
    ],
)
def test_each_state_has_its_commands(where: str, state: State, wanted: list[str]) -> None:
    assert next_commands(where, "s", state) == [command(name, study="s") for name in wanted]


def test_by_itself_exactly_one_is_suggested_and_none_is_unknown() -> None:
    both = (False, True)
    states = [State(over=o, worked_on=w, sweep=s, confirmed=c) for o in both for w in both for s in both for c in both]
    assert all(len(next_commands("welcome", "s", state)) == 1 for state in states)
    assert {name for rules in SUGGESTED.values() for _, names in rules for name in names} <= COMMANDS.keys()
