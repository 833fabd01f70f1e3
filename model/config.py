"""The records that say what is trained: data, tokenizer, model, training."""

from dataclasses import dataclass

from model.errors import SettingsError
from model.settings import Settings, setting

MAX_VOCAB = 65_536  # token ids are kept in uint16


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Where the text comes from and which part of it is held out for validation."""

    source: str = setting(doc='"builtin", a path or glob of .txt, .jsonl or .parquet files, or "hf:ORG/NAME"')
    column: str = setting("text", "name of the column (or JSON key) that holds the text")
    split: str = setting("train", "split to train on, of a Hugging Face data set")
    validation_split: str | None = setting(None, "named split to validate on; without one, rows are held out")
    holdout_period: int = setting(10_000, "of every so many rows ...", at_least=2)
    holdout_rows: int = setting(100, "... this many, the first, are held out for validation", at_least=1)
    rows_per_document: int = setting(1, "consecutive rows joined by newlines into one document", at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.holdout_rows >= self.holdout_period:
            raise SettingsError(
                f"`holdout_rows` is {self.holdout_rows}, but must be < holdout_period ({self.holdout_period})"
            )


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(Settings):
    """A SentencePiece tokenizer; always lossless."""

    kind: str = setting("unigram", "SentencePiece's algorithm", choices=("unigram", "bpe"))
    vocab_size: int = setting(6144, "number of tokens, 256 of them single bytes", at_least=320, at_most=MAX_VOCAB)
    sample_bytes: int = setting(10_000_000, "bytes of training text that the tokenizer is trained on", at_least=1000)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Settings):
    """A decoder-only transformer; `d_model` is n_head × head_dim."""

    n_layer: int = setting(12, "transformer blocks", at_least=1, at_most=256)
    n_head: int = setting(4, "attention heads", at_least=1, at_most=128)
    head_dim: int = setting(64, "width of one head; even, for rotary positions", at_least=2, at_most=512)
    mlp_ratio: float = setting(4.0, "hidden width of the MLP ÷ d_model", above=0, at_most=16)
    context: int = setting(512, "tokens that a prediction may look back on", at_least=8, at_most=65_536)
    rope_base: float = setting(10_000.0, "base of the rotary positions' wavelengths", above=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.head_dim % 2:
            raise SettingsError(f"`head_dim` is {self.head_dim}, but must be even (rotary positions turn pairs)")

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.n_head * self.head_dim


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """How it is trained; the budget and the seed come from the fidelity, not from here."""

    batch_size: int = setting(64, "sequences per optimizer step", at_least=1)
    micro_batch: int = setting(64, "most sequences per forward pass; halved until they fit", at_least=1)
    max_lr: float = setting(3e-3, "highest learning rate of the OneCycle schedule", above=0, at_most=1)
    pct_start: float = setting(0.1, "fraction of the budget spent rising to max_lr", above=0, below=1)
    div_factor: float = setting(25.0, "max_lr ÷ first learning rate", at_least=1)
    final_div_factor: float = setting(1e4, "first ÷ last learning rate", at_least=1)
    weight_decay: float = setting(0.1, "AdamW's decoupled decay, on matrices only", at_least=0, at_most=10)
    beta1: float = setting(0.9, "AdamW's decay of the first moment", at_least=0, below=1)
    beta2: float = setting(0.95, "AdamW's decay of the second moment", at_least=0, below=1)
    grad_clip: float = setting(1.0, "largest norm of the gradient", above=0)
