"""What goes together: settings that one option allows others to have."""

from collections.abc import Iterable
from typing import Any

from model.errors import SettingsError
from model.settings import Settings

Rows = Iterable[tuple[str, tuple[Any, ...], str]]
"""Names of settings, the values allowed, and the reason."""


def require(settings: Settings, where: str, rows: Rows) -> None:
    """Raise `SettingsError` for the first of these settings that has none of its allowed values.

    `where` is the condition for it, as TOML has it.
    """
    for key, allowed, reason in rows:
        value = getattr(settings, key)
        if value not in allowed:
            now, wanted = _written(value), " or ".join(map(_written, allowed))
            raise SettingsError(f"`{key}` is {now}, but must be {wanted} where {where}: {reason}")


def _written(value: object) -> str:
    """Return a value as TOML has it."""
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
