"""Keys and values of the first block of each group, for all of it (cross-layer attention)."""

from torch import Tensor

from tests.model.network.case import Case
from tests.model.network.reference import Reference


class Shared(Reference):
    def heads(self, x: Tensor, p: str, index: int | None) -> tuple[Tensor, Tensor, Tensor]:
        if index is None or index % self.c.kv_blocks == 0:
            q, k, v = super().heads(x, p, index)
            if index is not None:
                self.made = k, v
            return q, k, v
        q = self.linear(x, p + "q").reshape(len(x), -1, self.c.head_dim)
        return self.norm(q, p + "q_norm") if self.c.qk_norm else q, *self.made


CASES = {
    "keys of two blocks": Case(options={"kv_blocks": 2, "n_layer": 4}, reference=Shared),
    "keys of three, latent, normalised, in a window": Case(
        options={
            "kv_blocks": 3,
            "n_layer": 5,
            "attention": "latent",
            "projection_dim": 12,
            "qk_norm": True,
            "window": 6,
            "mtp_heads": 1,
        },
        reference=Shared,
    ),
    "keys of two, grouped, alibi": Case(
        options={"kv_blocks": 2, "n_layer": 3, "attention": "grouped", "n_kv_head": 2, "positions": "alibi"},
        reference=Shared,
    ),
}
