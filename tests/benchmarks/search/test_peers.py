import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.benchmarks.search import peer_loop
from tests.benchmarks.search.answers import Answers
from tests.benchmarks.search.made_up import SCALE, table
from tests.benchmarks.search.peers import Peer

# Draws two configurations, trains each to 20%, goes on with the better one to 100%, then begins anew.
HALVING = """
import random, sys
sys.path.insert(0, sys.argv[1])
from peer_loop import serve

class Search:
    def __init__(self, method, space, baseline, seed):
        random.seed(seed)
        self.baseline, self.told, self.count = baseline, [], 0

    def ask(self):
        self.count += 1
        params = {**self.baseline, "n_layer": random.randint(1, 6)}
        answer = {"id": str(self.count), "params": params, "percent": 20, "previous": None}
        if self.count % 3 == 0:
            answer |= {"percent": 100, "previous": min(self.told[-2:])[1]}
        return answer

    def tell(self, identity, params, bpb):
        self.told.append((bpb, identity))

serve(Search)
"""


def close(peer: Peer) -> None:
    assert peer.program is not None
    peer.program.close()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    (tmp_path / "halving.py").write_text(HALVING)
    made = Peer((sys.executable, str(tmp_path / "halving.py"), str(Path(peer_loop.__file__).parent)))
    yield made
    close(made)


def test_a_run_that_goes_on_is_paid_for_its_rest_alone(peer: Peer) -> None:
    """The baseline 1, two of 0.2, the better one's other 0.8, and again: 3.4 of the 3.5 that there are."""
    told = Answers(table(40), SCALE, 0)
    found = peer(told, 3.5, 1)
    assert found.seconds == pytest.approx(3.4 * 1800)
    assert found.long == 1 + 2 * 3
    assert len(told.used) == 1 + 2 * 2


def test_the_next_replay_begins_anew_in_the_same_process(peer: Peer) -> None:
    one = peer(Answers(table(40), SCALE, 0), 3.5, 1)
    program = peer.program
    assert peer(Answers(table(40), SCALE, 0), 3.5, 1) == one
    assert peer.program is program


def test_a_program_that_ends_is_said_so() -> None:
    peer = Peer((sys.executable, "-c", "import sys; sys.stdin.readline()"))
    with pytest.raises((RuntimeError, BrokenPipeError)):
        peer(Answers(table(10), SCALE, 0), 3, 1)
    close(peer)
