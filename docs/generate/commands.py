"""The command line's page, from the commands themselves."""

import re
from collections.abc import Iterator
from typing import Any

import typer.main

from docs.generate.markdown import code, fenced, page, table
from search.cli.main import app

PROGRAM = "lilm-search"
HEAD = ("option", "value", "meaning")
COMPLETION = {"install_completion", "show_completion"}
INTRO = (
    "Every command takes `--help`. A study is named by `--study`: a shipped one, a study file's path, or one that is "
    "in the database. Where the database is: [environment](environment.md). How a command ends: "
    "[exit codes](exit-codes.md)."
)


def tree() -> Any:
    """Return the command line as typer built it."""
    return typer.main.get_command(app)


def every_command(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each command with the words that call it, groups before what is in them; hidden ones are left out."""
    for name, command in (group or tree()).commands.items():
        if not command.hidden:
            yield (*path, name), command
            if hasattr(command, "commands"):
                yield from every_command(command, (*path, name))


def shown(command: Any) -> list[Any]:
    """Return a command's options and arguments, those that --help shows."""
    return [p for p in command.params if p.name not in {"help", *COMPLETION} and not getattr(p, "hidden", False)]


def commands_page() -> str:
    """Return the page."""
    found = list(every_command())
    linked = [[f"[`{' '.join(path)}`](#{'-'.join(path)})", _parts(command)[0]] for path, command in found]
    return page(
        "# Commands",
        INTRO,
        table(("command", "what it does"), linked),
        *(_section(path, command) for path, command in found),
        "## Shell completion",
        f"`{PROGRAM} --install-completion` installs it for the shell that you use; `--show-completion` prints it.",
    )


def _section(path: tuple[str, ...], command: Any) -> str:
    said, example = _parts(command)
    options = [p for p in shown(command) if p.param_type_name == "option"]
    arguments = [p for p in shown(command) if p.param_type_name == "argument"]
    parts = [
        f"{'#' * (1 + len(path))} {' '.join(path)}",
        said,
        fenced(example) if example else "",
        table(("argument", *HEAD[1:]), [_row(p) for p in arguments]) if arguments else "",
        table(HEAD, [_row(p) for p in options]) if options else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _parts(command: Any) -> tuple[str, str]:
    """Return what a command's help says, in one paragraph, and its example."""
    text = re.sub(r"[\f\b]", "", command.help or "")
    said, _, example = text.partition("Example: ")
    return " ".join(said.split()), " ".join(example.split())


def _row(parameter: Any) -> list[str]:
    names = ", ".join(code(name) for name in [*parameter.opts, *parameter.secondary_opts])
    if parameter.param_type_name == "argument":
        names = code(parameter.name.upper())
    meaning = parameter.help or ""
    if parameter.envvar:
        meaning += f" Environment: `{parameter.envvar}`."
    return [names, _value(parameter), f"{meaning} {_default(parameter)}".strip()]


def _value(parameter: Any) -> str:
    """Return what an option takes, with its range; nothing for a switch."""
    if getattr(parameter, "is_flag", False):
        return ""
    if parameter.metavar:
        return code(parameter.metavar)
    kinds = {"str": "text", "int": "integer", "float": "number", "Path": "path"}
    annotation = parameter.type_descriptor.annotation
    inner = getattr(annotation, "__args__", (annotation,))[0]
    many = ", several" if parameter.multiple or parameter.nargs == -1 else ""
    ends = ((parameter.min, "≥"), (parameter.max, "≤"))
    limits = " and ".join(f"{sign} {end:g}" for end, sign in ends if end is not None)
    return " ".join(filter(None, (kinds.get(inner.__name__, inner.__name__), limits))) + many


def _default(parameter: Any) -> str:
    """Return the default as a sentence: a column for it would be mostly empty, and meanings off a phone's screen."""
    if parameter.required:
        return "Must be given."
    if parameter.default in (None, False, (), []) or getattr(parameter, "is_flag", False):
        return ""
    return "Default: " + code(str(parameter.default) or '""') + "."
