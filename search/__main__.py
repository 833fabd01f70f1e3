"""`python -m search` is `lilm-search`."""

from search.cli.main import main

main()
