"""`python -m search` is `lilm-search`."""

from search.cli.main import run

run()
