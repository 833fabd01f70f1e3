"""What a person is told when a command fails, and the exit code that it fails with."""

import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any

import typer

from search.common.exit_codes import AFRESH, AWAY, FAULT, MISUSED, REFUSED


def ending(error: Exception) -> tuple[int, str | None]:
    """Return the exit code, and what to tell the user: nothing where it has been said, None for a fault of ours."""
    if isinstance(error, UsageError):  # before the rest, whose imports take longer
        return MISUSED, "" if type(error).__name__ == "NoArgsIsHelpError" else explain(error)
    if isinstance(error, typer.Abort):
        return REFUSED, "cancelled"
    from model.errors import CaptureError, ModelError
    from search.common.errors import SearchError
    from storage.errors import BusyError, StorageError, UnreachableError
    from storage.server.database import is_transient, refusal

    if isinstance(error, CaptureError):
        return AFRESH, str(error)
    if isinstance(error, SearchError | ModelError | StorageError):
        return AWAY if isinstance(error, UnreachableError | BusyError) else REFUSED, str(error)
    if refused := refusal(error):
        return REFUSED, str(refused)
    return (AWAY, "the database went away; try again once it is back") if is_transient(error) else (FAULT, None)


UsageError: Any = typer.BadParameter.__mro__[1]
"""What the parser raises for a command that it can't understand; typer names only this one's child."""

MAY_BE_EMPTY = ("--prompt", "--cloud", "--link")
"""Options whose default is the empty text."""
NUMBERS = (
    "--every",
    "--hours",
    "--max-usd",
    "--price",
    "--smooth",
    "--temperature",
    "--tokens-per-param",
    "--tolerance",
)
"""Options that take a real number, in some command; `replay` itself says what its --budget may be."""
NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
_TYPES = {int: "an integer", float: "a number", bool: "true or false"}
_SHAPES = {"integer": int, "int": int, "number": float, "float": float}


def explain(error: Any) -> str:
    """Return what to tell the user; `error` is the parser's."""
    kind = type(error).__name__
    context = getattr(error, "ctx", None)
    said = _SAID.get(kind, _other)(error, context)
    if kind != "NoSuchOption" and context is not None and (example := _example(context)):
        said += f"\n{example}"
    return said


def refuse_unusable(arguments: Sequence[str]) -> None:
    """Raise `UsageError` for an option whose value is empty, as an unset variable's is, or no finite number.

    An empty value, taken as absent, would do something else than was asked for: rent what was to be printed, train on
    another text. With infinity nothing further on can count.
    """
    for option, value in zip(arguments, [*arguments[1:], None], strict=False):
        name, equals, given = option.partition("=")
        empty = given == "" if equals else value == ""
        if empty and name.startswith("--") and name not in MAY_BE_EMPTY:
            raise UsageError(f"{name} is empty; give it a value, or leave it out")
        number = given if equals else value or ""
        if name in NUMBERS and NOT_FINITE.fullmatch(number):
            raise UsageError(f'{name} is "{number}", but must be a finite number; leave it out where there is no limit')


def _no_such_option(error: Any, context: Any) -> str:
    given = error.option_name
    known = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
    return f"{_called(context)} has no option {given}; {_nearest(given, known, _help(context))}"


def _missing(error: Any, context: Any) -> str:
    parameter = error.param
    name, means = _name(parameter), (getattr(parameter, "help", None) or "").rstrip(".")
    words = [word for word in sys.argv[2:] if not word.startswith("-")]
    if name == "--study" and len(words) == 1:
        return f"{_called(context)} needs --study; did you mean --study {words[0]}?"
    return f"{_called(context)} needs {name}" + (f": {means[:1].lower()}{means[1:]}" if means else "")


def _bad_value(error: Any, context: Any) -> str:
    given = _given(error)
    shown = f' is "{given}",' if given is not None else ":"
    return f"{_name(error.param)}{shown} but must be {_allowed(error)}"


def _bad_usage(error: Any, context: Any) -> str:
    name = error.option_name
    if "not take a value" in error.message:
        return f"{name} takes no value; write {name} alone"
    return f"{name} is given without its value"


def _other(error: Any, context: Any) -> str:
    """Explain what the parser raises without a class of its own, by its words."""
    message = str(error.message)
    if found := re.search(r"No such command '(.*?)'\.?", message):
        known = list(getattr(context.command, "commands", {}))
        within = "" if context.parent is None else f" of {_called(context)}"
        return f'no command{within} is named "{found[1]}"; {_nearest(found[1], known, _help(context))}'
    if found := re.search(r"unexpected extra arguments? ?\S* ?\((.*)\)", message):
        return f'{_called(context)} takes no "{found[1]}" there{_meant(found[1], context)}; {_help(context)}'
    if "Missing command" in message:
        return f"{_called(context)} needs a command: {', '.join(context.command.commands)}"
    return f"{message[:1].lower()}{message[1:]}".rstrip(".")


_SAID = {
    "NoSuchOption": _no_such_option,
    "MissingParameter": _missing,
    "BadParameter": _bad_value,
    "BadOptionUsage": _bad_usage,
}


def _meant(given: str, context: Any) -> str:
    """Return a hint where one word was given to a command whose study is an option."""
    has_study = any("--study" in p.opts for p in context.command.params)
    return f"; did you mean --study {given}?" if has_study and " " not in given else ""


def _given(error: Any) -> Any:
    """Return the value as it was given; None where the parser doesn't tell."""
    cause = error.__cause__
    if cause is not None and hasattr(cause, "errors"):
        return next((e["input"] for e in cause.errors() if "input" in e), None)
    found = re.match(r"'?(.+?)'? is not ", error.message)
    return found[1] if found else None


def _allowed(error: Any) -> str:
    """Return what the parameter takes: its type and limits, its choices, else what the parser said."""
    described = getattr(error.param, "type_descriptor", None)
    if described is not None and described.choices:
        return f"one of {', '.join(str(getattr(c, 'value', c)) for c in described.choices)}"
    limits = described.parameter_info if described is not None else getattr(error.param, "type", None)
    shape = _shape(described, error)
    if shape is None:
        return str(error.message).rstrip(".")
    at_least, at_most = getattr(limits, "min", None), getattr(limits, "max", None)
    bounds = [
        f"{sign} {limit if shape is int else f'{limit:g}'}"
        for sign, limit in ((">=", at_least), ("<=", at_most))
        if limit is not None
    ]
    return " ".join([_TYPES[shape], " and ".join(bounds)]).strip()


def _shape(described: Any, error: Any) -> type | None:
    """Return int, float or bool where the parameter takes one."""
    if described is None:
        words = str(getattr(getattr(error.param, "type", None), "name", "")).split()
        return _SHAPES.get(words[0]) if words else None
    options = getattr(described.annotation, "__args__", (described.annotation,))
    return next((o for o in options if o in _TYPES), None)


def _nearest(given: str, known: Sequence[str], otherwise: str) -> str:
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else otherwise


def _name(parameter: Any) -> str:
    """Return the parameter as it is written: its long option, or an argument's name in capitals."""
    return next((o for o in parameter.opts if o.startswith("--")), str(parameter.name).upper())


def _called(context: Any) -> str:
    """Return the command's name, without the program's unless it is the program itself."""
    words = context.command_path.split()
    return " ".join(words[1:]) or "lilm-search"


def _help(context: Any) -> str:
    return f"see `{context.command_path} --help`"


def _example(context: Any) -> str:
    """Return the line of the command's help that begins so."""
    found = re.search(r"Example: [^\n]*", context.command.help or "")
    return found[0].rstrip() if found else ""
