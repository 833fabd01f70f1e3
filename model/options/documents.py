"""Settings of attention that stays within a document."""

from dataclasses import dataclass

from model.errors import SettingsError
from model.options.plain import PlainConfig
from model.settings import setting

SEPARATOR = 2
"""Token before each document, in every tokenizer that this project trains: SentencePiece's end of a sentence."""


@dataclass(frozen=True, kw_only=True)
class Documents(PlainConfig):
    """Whether documents that are packed into one sequence see one another."""

    document_mask: bool = setting(
        False, "attention stays within a document, the separator before it included; rotary positions only"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.document_mask and self.positions != "rope":
            raise SettingsError(
                f'`document_mask` is true, but must be false where positions = "{self.positions}": a bias for each '
                "head, sequence and pair of tokens would not fit into memory"
            )
