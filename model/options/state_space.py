"""Settings of state spaces in attention's place."""

from dataclasses import dataclass, replace

from model.errors import SettingsError
from model.options.documents import Documents
from model.options.layer import Layer
from model.options.shared_keys import SharedKeys
from model.options.shortcuts import Shortcuts
from model.options.together import require
from model.settings import setting


@dataclass(frozen=True, kw_only=True)
class StateSpace(Shortcuts, Documents, SharedKeys):
    """Which blocks read their past from a state of fixed size."""

    mixer: str = setting(
        "attention",
        "what lets positions look back: attention, a state of fixed size (Mamba-2), or moving averages and attention "
        "within chunks (Megalodon)",
        choices=("attention", "mamba2", "megalodon"),
    )
    attention_every: int = setting(
        0, "where mixer isn't attention: every so many blocks the last has attention all the same; 0: none", at_least=0
    )
    ssm_state: int = setting(64, "width of Mamba-2's state, for each channel", at_least=1, at_most=1024)
    ssm_chunk: int = setting(
        64, "tokens of a chunk, within which Mamba-2 multiplies all pairs: speed alone", at_least=1, at_most=1024
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixer == "attention":
            if self.attention_every:
                raise SettingsError(
                    f'`attention_every` is {self.attention_every}, but must be 0 where mixer = "attention": every '
                    "block has attention"
                )
            return
        rows = (
            ("kv_blocks", (1,), "only attention has keys and values to share"),
            ("value_residual", (False,), "only attention has values to mix"),
            ("document_mask", (False,), "what is known of the past goes on from one document to the next"),
        )
        require(self, f'mixer = "{self.mixer}"', rows)

    def layer(self, index: int) -> Layer:
        """Return a block's layer; the last of each group has attention (Dao & Gu 2024, section 9.2.3)."""
        layer, every = super().layer(index), self.attention_every
        has_attention = self.mixer == "attention" or (every and index % every == every - 1)
        return layer if has_attention else replace(layer, mixer=self.mixer)
