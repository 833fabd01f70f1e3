"""The message and the exit code of a command that fails."""

import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any

import typer

from search.common.exit_codes import AFRESH, AWAY, FAULT, MISUSED, REFUSED


def exit_code_and_message(error: Exception) -> tuple[int, str | None]:
    """Return an error's exit code and message; the message is empty if already printed, None for our bugs."""
    if isinstance(error, UsageError):  # before the rest, whose imports take longer
        return MISUSED, "" if type(error).__name__ == "NoArgsIsHelpError" else explain(error)
    if isinstance(error, typer.Abort):
        return REFUSED, "cancelled"
    from model.errors import CaptureError, ModelError
    from search.common.errors import AwayError, SearchError
    from storage.errors import BusyError, StorageError, UnreachableError
    from storage.server.database import is_transient, refusal

    if isinstance(error, CaptureError):
        return AFRESH, str(error)
    if isinstance(error, SearchError | ModelError | StorageError):
        return AWAY if isinstance(error, UnreachableError | BusyError | AwayError) else REFUSED, str(error)
    if refused := refusal(error):
        return REFUSED, str(refused)
    return (AWAY, "the database went away; try again once it is back") if is_transient(error) else (FAULT, None)


UsageError: Any = typer.BadParameter.__mro__[1]
"""Class of the parser's errors for a command that it can't parse; typer itself exports only a subclass."""

MAY_BE_EMPTY = ("--prompt", "--cloud", "--link")
"""Options whose value may be empty, as their defaults are."""
NUMBERS = (
    "--every",
    "--hours",
    "--max-usd",
    "--price",
    "--smooth",
    "--temperature",
    "--tokens-per-param",
    "--tolerance",
    "--usd-per-million-tokens",
)
"""Options that take a real number in some command; `replay` checks its --budget itself."""
NOT_FINITE = re.compile(r"[+-]?(inf|infinity|nan)", re.IGNORECASE)
_TYPE_NAMES = {int: "an integer", float: "a number", bool: "true or false"}
_TYPES_BY_NAME = {"integer": int, "int": int, "number": float, "float": float}


def explain(error: Any) -> str:
    """Return the message for an error of the parser."""
    kind = type(error).__name__
    context = getattr(error, "ctx", None)
    message = _EXPLANATIONS.get(kind, _other)(error, context)
    if kind != "NoSuchOption" and context is not None and (example := _example(context)):
        message += f"\n{example}"
    return message


def refuse_unusable(arguments: Sequence[str]) -> None:
    """Raise `UsageError` for an option whose value is empty, as that of an unset variable, or no finite number.

    An empty value must not be taken for an absent one: that would do something else than was asked for, such as rent
    machines instead of printing what would be rented, or train on another text. Infinity can't be computed with.
    """
    for option, value in zip(arguments, [*arguments[1:], None], strict=False):
        name, equals, given = option.partition("=")
        empty = given == "" if equals else value == ""
        if empty and name.startswith("--") and name not in MAY_BE_EMPTY:
            raise UsageError(f"{name} is empty; give it a value, or leave it out")
        number = given if equals else value or ""
        if name in NUMBERS and NOT_FINITE.fullmatch(number):
            raise UsageError(f'{name} is "{number}", but must be a finite number; leave it out if there is no limit')


def _no_such_option(error: Any, context: Any) -> str:
    given = error.option_name
    available = [name for parameter in context.command.params for name in parameter.opts if name.startswith("--")]
    return f"{_command_name(context)} has no option {given}; {_suggestion(given, available, _help(context))}"


def _missing(error: Any, context: Any) -> str:
    parameter = error.param
    name, means = _parameter_name(parameter), (getattr(parameter, "help", None) or "").rstrip(".")
    words = [word for word in sys.argv[2:] if not word.startswith("-")]
    if name == "--study" and len(words) == 1:
        return f"{_command_name(context)} needs --study; did you mean --study {words[0]}?"
    return f"{_command_name(context)} needs {name}" + (f": {means[:1].lower()}{means[1:]}" if means else "")


def _bad_value(error: Any, context: Any) -> str:
    given = _given_value(error)
    quoted = f' is "{given}",' if given is not None else ":"
    return f"{_parameter_name(error.param)}{quoted} but must be {_allowed_values(error)}"


def _bad_usage(error: Any, context: Any) -> str:
    name = error.option_name
    if "not take a value" in error.message:
        return f"{name} takes no value; write {name} alone"
    return f"{name} is given without its value"


def _other(error: Any, context: Any) -> str:
    """Return the message for an error that has no class of its own, recognized by the parser's message."""
    message = str(error.message)
    if match := re.search(r"No such command '(.*?)'\.?", message):
        available = list(getattr(context.command, "commands", {}))
        within = "" if context.parent is None else f" of {_command_name(context)}"
        return f'no command{within} is named "{match[1]}"; {_suggestion(match[1], available, _help(context))}'
    if match := re.search(r"unexpected extra arguments? ?\S* ?\((.*)\)", message):
        return f'{_command_name(context)} takes no "{match[1]}" there{_study_hint(match[1], context)}; {_help(context)}'
    if "Missing command" in message:
        return f"{_command_name(context)} needs a command: {', '.join(context.command.commands)}"
    return f"{message[:1].lower()}{message[1:]}".rstrip(".")


_EXPLANATIONS = {
    "NoSuchOption": _no_such_option,
    "MissingParameter": _missing,
    "BadParameter": _bad_value,
    "BadOptionUsage": _bad_usage,
}


def _study_hint(given: str, context: Any) -> str:
    """Return a hint if one word was given without --study to a command that has this option; else empty."""
    has_study = any("--study" in p.opts for p in context.command.params)
    return f"; did you mean --study {given}?" if has_study and " " not in given else ""


def _given_value(error: Any) -> Any:
    """Return the value that was given; None if the error doesn't have it."""
    cause = error.__cause__
    if cause is not None and hasattr(cause, "errors"):
        return next((e["input"] for e in cause.errors() if "input" in e), None)
    match = re.match(r"'?(.+?)'? is not ", error.message)
    return match[1] if match else None


def _allowed_values(error: Any) -> str:
    """Return what a parameter allows: its choices, or its type and limits, or else the parser's own message."""
    described = getattr(error.param, "type_descriptor", None)
    if described is not None and described.choices:
        return f"one of {', '.join(str(getattr(c, 'value', c)) for c in described.choices)}"
    limits = described.parameter_info if described is not None else getattr(error.param, "type", None)
    value_type = _value_type(described, error)
    if value_type is None:
        return str(error.message).rstrip(".")
    at_least, at_most = getattr(limits, "min", None), getattr(limits, "max", None)
    bounds = [
        f"{sign} {limit if value_type is int else f'{limit:g}'}"
        for sign, limit in ((">=", at_least), ("<=", at_most))
        if limit is not None
    ]
    return " ".join([_TYPE_NAMES[value_type], " and ".join(bounds)]).strip()


def _value_type(described: Any, error: Any) -> type | None:
    """Return int, float or bool if the parameter takes one, else None."""
    if described is None:
        words = str(getattr(getattr(error.param, "type", None), "name", "")).split()
        return _TYPES_BY_NAME.get(words[0]) if words else None
    options = getattr(described.annotation, "__args__", (described.annotation,))
    return next((o for o in options if o in _TYPE_NAMES), None)


def _suggestion(given: str, available: Sequence[str], otherwise: str) -> str:
    close = difflib.get_close_matches(given, available, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else otherwise


def _parameter_name(parameter: Any) -> str:
    """Return a parameter as it is written: its long option, or an argument's name in capitals."""
    return next((o for o in parameter.opts if o.startswith("--")), str(parameter.name).upper())


def _command_name(context: Any) -> str:
    """Return the command's name without the program's, or the program's if there is no command."""
    words = context.command_path.split()
    return " ".join(words[1:]) or "lilm-search"


def _help(context: Any) -> str:
    return f"see `{context.command_path} --help`"


def _example(context: Any) -> str:
    """Return the example in the command's help; empty if it has none."""
    match = re.search(r"Example: [^\n]*", context.command.help or "")
    return match[0].rstrip() if match else ""
