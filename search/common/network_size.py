"""A network's size in words: all its parameters, and those that a token passes through where experts are chosen."""


def parameters_text(total: int, active: int | None) -> str:
    """Return the number of parameters, and that of a token's own where these are fewer."""
    return f"{total:,}" if active in (None, total) else f"{total:,} ({active:,} active)"


def per_parameter_text(tokens: float, total: int, active: int | None) -> str:
    """Return the number of tokens per parameter, and that per active one where these are fewer."""
    text = f"{tokens / total:.1f} per parameter"
    return text if active is None or active == total else f"{text}, {tokens / active:.1f} per active one"


def dropped_text(share: float | None) -> str:
    """Return what share of the choices of experts found no room; nothing without experts."""
    return "" if share is None else f"{share:.2%} of the choices of experts dropped"
