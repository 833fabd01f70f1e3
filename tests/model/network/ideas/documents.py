"""Attention within a document: no position looks beyond the last separator at or before it."""

from torch import Tensor

from model.options.documents import SEPARATOR
from tests.model.network.case import Case
from tests.model.network.reference import Reference


class Within(Reference):
    def embed(self, ids: Tensor) -> Tensor:
        self.ids = ids.tolist()
        return super().embed(ids)

    def first_seen(self, t: int, index: int | None) -> int:
        begins = [s for s in range(t + 1) if self.ids[s] == SEPARATOR]
        return max(super().first_seen(t, index), max(begins, default=0))


CASES = {
    "within documents": Case(options={"document_mask": True}, reference=Within),
    "within documents and a window, grouped": Case(
        options={"document_mask": True, "window": 5, "attention": "grouped", "n_kv_head": 2}, reference=Within
    ),
}
