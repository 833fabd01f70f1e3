"""`python -m search` is `lilm-search`."""

from search.cli import main

main()
