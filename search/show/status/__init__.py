"""A study in a terminal, and status --json."""
