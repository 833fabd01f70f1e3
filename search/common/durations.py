"""Durations as people write them: 90s, 6m, 1.5h."""

import re

MAX_CHARACTERS = 40
"""Most characters of a duration; a longer text is refused."""
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Return the seconds of "90s", "6m" or "1.5h"; raises ValueError on anything else."""
    text = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", text.strip())
    if not match:
        raise ValueError(f'"{text}" is no duration; write a number and s, m or h, such as 90s, 6m or 1.5h')
    if float(match[1]) <= 0:
        raise ValueError(f'"{text}" is no duration above 0; write such as 90s, 6m or 1.5h')
    return float(match[1]) * _UNITS[match[2]]


def format_duration(seconds: float) -> str:
    """Return a duration as short text: 0.4 s, 8 s, 6.5 min, 1.2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
