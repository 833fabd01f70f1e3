"""Numbers and lists in a sentence."""

from collections.abc import Sequence


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun: 1 run, 2 runs."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def ordinal(place: int) -> str:
    """Return the best, the 2nd best and so on."""
    if place == 1:
        return "the best"
    end = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"the {place}{end} best"


def joined(parts: Sequence[str]) -> str:
    """Return a, b and c."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def capital(text: str) -> str:
    """Return a sentence with its first letter large, unless it begins with a setting's name."""
    return text if "_" in text.split(" ")[0] else text[:1].upper() + text[1:]
