"""Local and global attention in turn, as Gemma 3 describes it: the last block of each group is global."""

from tests.model.network.case import Case
from tests.model.network.reference import Reference


class Interleaved(Reference):
    def window(self, index: int | None) -> int:
        groups = range(self.c.global_every, self.c.n_layer + 1, self.c.global_every)
        return self.c.context if index is not None and index + 1 in groups else self.c.window


CASES = {
    "global every second": Case(options={"window": 3, "global_every": 2, "n_layer": 4}, reference=Interleaved),
    "global every third, alibi, a further head": Case(
        options={"window": 4, "global_every": 3, "n_layer": 4, "positions": "alibi", "mtp_heads": 1},
        reference=Interleaved,
    ),
}
