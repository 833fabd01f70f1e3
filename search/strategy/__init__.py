"""The search's three decisions: what to try (sampler), what to stop (pruner), what to confirm (race)."""
