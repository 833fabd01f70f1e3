"""Decides which configuration to train, whether to go on and what to confirm; talks to people."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.strategy.pruner import CorrelationPruner


__all__ = ["CorrelationPruner"]


def __getattr__(name: str) -> Any:
    """Import the pruner when it is asked for: `import search` alone, as every command does, stays quick."""
    if name == "CorrelationPruner":
        from search.strategy.pruner import CorrelationPruner

        return CorrelationPruner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
