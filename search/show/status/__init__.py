"""A study's state in a terminal, and as `status --json`."""
