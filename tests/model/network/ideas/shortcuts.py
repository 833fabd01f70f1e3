"""Short paths through the network: the first block's values and the embedding, seen by all blocks."""

import torch
from torch import Tensor

from tests.model.network.case import Case
from tests.model.network.reference import Reference


class Short(Reference):
    def embed(self, ids: Tensor) -> Tensor:
        x = super().embed(ids)
        return self.norm(x, "embedding_norm") if self.c.embedding_norm else x

    def block(self, x: Tensor, p: str, index: int | None) -> Tensor:
        if self.c.embedding_shortcut and index:
            x = x + self.w[p + "shortcut"] * self.embedded
        return super().block(x, p, index)

    def heads(self, x: Tensor, p: str, index: int | None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().heads(x, p, index)
        if not self.c.value_residual or index is None:
            return q, k, v
        if index == 0:
            self.first = v
            return q, k, v
        own, first = self.w[p + "shares"]
        return q, k, torch.stack([own * a + first * b for a, b in zip(v, self.first, strict=True)])


CASES = {
    "value residuals": Case(options={"value_residual": True, "n_layer": 3}, reference=Short),
    "embedding shortcuts": Case(options={"embedding_shortcut": True}, reference=Short),
    "embedding norm": Case(options={"embedding_norm": True}, reference=Short),
    "projections zero at first": Case(options={"zero_init": True}, reference=Short),
    "all short paths, grouped, a further head": Case(
        options={
            "value_residual": True,
            "embedding_shortcut": True,
            "embedding_norm": True,
            "zero_init": True,
            "attention": "grouped",
            "n_kv_head": 2,
            "mtp_heads": 1,
        },
        reference=Short,
    ),
}
