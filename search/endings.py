"""How a command ends: by the exit code, a script knows whether it is worth being run again."""

import typer

REFUSED = 1
"""A person's mistake, or a refusal: the same would come out again."""
MISUSED = 2
"""The command itself can't be understood: a misspelt option, a value out of range."""
FAULT = 70
"""A fault of ours, or of the machine (EX_SOFTWARE)."""
AWAY = 75
"""The database is away or busy: later it may go well (EX_TEMPFAIL)."""


def ending(error: Exception) -> tuple[int, str | None]:
    """Return the exit code, and what to tell the user: nothing where it has been said, None for a fault of ours."""
    from search.usage import UsageError, explain

    if isinstance(error, UsageError):  # before the rest, whose imports take longer
        return MISUSED, "" if type(error).__name__ == "NoArgsIsHelpError" else explain(error)
    if isinstance(error, typer.Abort):
        return REFUSED, "cancelled"
    from model.errors import ModelError
    from search.errors import SearchError
    from storage.database import is_passing, refusal
    from storage.errors import BusyError, StorageError, UnreachableError

    if isinstance(error, SearchError | ModelError | StorageError):
        return AWAY if isinstance(error, UnreachableError | BusyError) else REFUSED, str(error)
    if refused := refusal(error):
        return REFUSED, str(refused)
    return (AWAY, "the database went away; try again once it is back") if is_passing(error) else (FAULT, None)
