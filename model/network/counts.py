"""Parameters and operations of a part, by closed form."""

from typing import NamedTuple


class Counts(NamedTuple):
    """What a part holds, and what it does for one token of a full context."""

    parameters: int
    products: float
    """Multiplications, each with its addition, of a forward pass: one for each parameter of a dense matrix."""
    idle: int = 0
    """Parameters, among all, that a token does not pass through: those of the experts that were not chosen for it."""

    @staticmethod
    def of(*parts: "Counts") -> "Counts":
        """Return the counts of parts together."""
        return Counts(*(sum(column) for column in zip(*parts, strict=True)))


def vectors(parameters: int) -> Counts:
    """Return the counts of parameters that stand beside matrices: gains, biases; their operations don't matter."""
    return Counts(parameters, 0)


def attended(context: int, window: int) -> float:
    """Return how many tokens, itself included, a position of a full context attends to on average."""
    reach = min(window or context, context)
    return reach - reach * (reach - 1) / (2 * context)
