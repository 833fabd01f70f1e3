"""The lines of JSON that `peers.py` sends, answered by a peer's search; runs where only the peer is installed."""

import json
import sys
from collections.abc import Callable
from typing import Any, Protocol

WORST = 100.0
"""BPB that a peer is told of a run that diverged."""


class Search(Protocol):
    """One search, asked and told."""

    def ask(self) -> dict[str, Any]:
        """Return the run that the peer wants next."""

    def tell(self, identity: str, params: dict[str, Any], bpb: float | None) -> None:
        """Tell a run's end, as that of the configuration that was trained; no BPB where it diverged."""


def serve(begin: Callable[..., Search]) -> None:
    """Answer until there are no more lines; `begin` starts a search by its method, space, baseline and seed."""
    search: Search | None = None
    for line in sys.stdin:
        wanted = json.loads(line)
        if "start" in wanted:
            search = begin(sys.argv[1], **wanted["start"])
            continue
        assert search is not None
        if "ask" in wanted:
            print(json.dumps(search.ask()), flush=True)
        else:
            search.tell(wanted["tell"], wanted["params"], wanted["bpb"])
