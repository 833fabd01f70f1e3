"""Settings of attention with a compressive memory."""

from dataclasses import dataclass, replace

from model.options.documents import Documents
from model.options.layer import Layer
from model.options.shared_keys import SharedKeys
from model.options.together import require
from model.settings import setting


@dataclass(frozen=True, kw_only=True)
class Compressive(Documents, SharedKeys):
    """How far attention looks back pair by pair; what lies before that it reads from a memory of fixed size."""

    segment: int = setting(
        0,
        "tokens of a segment, within which attention looks back; earlier ones are read from a memory of fixed size "
        "(Infini-attention); 0: no memory",
        at_least=0,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.segment:
            return
        rows = (
            ("attention", ("full", "grouped"), "a memory needs keys of its own"),
            ("window", (0,), "the segment is how far attention looks back"),
            ("positions", ("rope",), "a bias is linear in the distance, which a memory doesn't know"),
            ("kv_blocks", (1,), "each block's memory is of its own keys"),
            ("document_mask", (False,), "a memory goes on from one document to the next"),
        )
        require(self, "segment > 0", rows)

    def layer(self, index: int) -> Layer:
        """Return a block's layer: attention with a memory, where it has attention."""
        layer = super().layer(index)
        return replace(layer, mixer="compressive") if self.segment else layer
