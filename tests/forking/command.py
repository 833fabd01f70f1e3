"""A command for other programs, shells, to start; it is forked: `python -m tests.forking.command SOCKET ARGUMENTS`."""

import sys
from pathlib import Path

from tests.forking.client import OURS, Forked

if __name__ == "__main__":
    Forked.server = Path(sys.argv[1])
    with Forked([*OURS, *sys.argv[2:]]) as process:
        sys.exit(process.wait())
