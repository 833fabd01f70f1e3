"""Settings of what is trained: data, tokenizer, model, training."""

from dataclasses import dataclass

from model.errors import SettingsError
from model.options.compressive import Compressive
from model.options.depths import MixtureOfDepths
from model.options.documents import Documents
from model.options.experts import MixtureOfExperts
from model.options.interleaving import Interleaving
from model.options.linears import Linears
from model.options.megalodon import MovingAverages
from model.options.shared_keys import SharedKeys
from model.options.shortcuts import Shortcuts
from model.options.state_space import StateSpace
from model.options.tracks import Tracks
from model.schedule import SCHEDULES
from model.settings import Settings, setting

MIN_VOCAB = 320  # 256 bytes, three signs, and something to begin with
MAX_VOCAB = 65_536  # token ids are kept in uint16
PROTOCOL = "every token once, windows of the context without overlap, lossless tokenizer"
"""Name of the evaluation protocol of `model.evaluate`, recorded with every result.

Results of another protocol have another name; with a tokenizer that loses text it contains `lossy`."""


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Where the text comes from and which part of it is held out for validation."""

    source: str = setting(doc='"builtin", a path or glob of .txt, .jsonl or .parquet files, or "hf:ORG/NAME"')
    column: str = setting("text", "name of the column (or JSON key) that holds the text")
    split: str = setting("train", "split to train on, of a Hugging Face data set")
    validation_split: str | None = setting(None, "named split to validate on; without one, rows are held out")
    holdout_period: int = setting(
        10_000, "length of the period, in rows; the first rows of each are held out", at_least=2
    )
    holdout_rows: int = setting(100, "rows held out for validation at the start of each period", at_least=1)
    rows_per_document: int = setting(1, "consecutive rows joined by newlines into one document", at_least=1)
    max_row_bytes: int | None = setting(
        None, "longer rows are cut into pieces, each a row: of a text that is one long document", at_least=100
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.holdout_rows >= self.holdout_period:
            raise SettingsError(
                f"`holdout_rows` is {self.holdout_rows}, but must be < holdout_period ({self.holdout_period})"
            )
        if self.max_row_bytes is not None and self.rows_per_document > 1:
            raise SettingsError(
                f"`rows_per_document` is {self.rows_per_document}, but must be 1 where `max_row_bytes` cuts rows: "
                "joined, the pieces would have line breaks that the text has not"
            )


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig(Settings):
    """A SentencePiece tokenizer; always lossless."""

    kind: str = setting("unigram", "SentencePiece's algorithm", choices=("unigram", "bpe"))
    vocab_size: int = setting(6144, "number of tokens, 256 of them single bytes", at_least=MIN_VOCAB, at_most=MAX_VOCAB)
    sample_bytes: int = setting(10_000_000, "bytes of training text that the tokenizer is trained on", at_least=1000)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(
    Tracks,  # first: what the others make of a block is what a track is made of
    MovingAverages,
    StateSpace,
    Compressive,
    MixtureOfDepths,
    MixtureOfExperts,
    Shortcuts,
    Documents,
    SharedKeys,
    Interleaving,
    Linears,
):
    """A decoder-only transformer; `d_model` is n_head × head_dim."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Settings):
    """How it is trained; budget and seed come from `[proxy]` or `[confirm]`."""

    batch_size: int = setting(64, "sequences per optimizer step", at_least=1)
    micro_batch: int = setting(
        64, "most sequences per forward pass; lowered to a divisor of batch_size that fits into memory", at_least=1
    )
    max_lr: float = setting(3e-3, "highest learning rate of the schedule", above=0, at_most=1)
    schedule: str = setting(
        "one_cycle",
        "learning rate schedule over the budget; one_cycle_… fix pct_start and both factors: 0.3, 3, 10 for standard, "
        "0.05, 10, 100 for aggressive, 0.1, 6, 20 for medium; torch, early and shallow are of earlier versions",
        choices=SCHEDULES,
    )
    pct_start: float = setting(0.1, "fraction of the budget spent rising to max_lr", above=0, below=1)
    div_factor: float = setting(25.0, "max_lr ÷ first learning rate", at_least=1)
    final_div_factor: float = setting(1e4, "first ÷ last learning rate", at_least=1)
    decay_fraction: float = setting(
        0.2, "last fraction of the budget, in which warmup_stable_decay decays", above=0, below=1
    )
    average_fraction: float = setting(
        0.0,
        "last fraction of the budget over which weights are averaged for the result; 0: no averaging",
        at_least=0,
        below=1,
    )
    optimizer: str = setting(
        "adamw", "muon: Muon for the blocks' matrices, AdamW for the rest", choices=("adamw", "muon")
    )
    weight_decay: float = setting(0.1, "decoupled decay, on matrices only", at_least=0, at_most=10)
    beta1: float = setting(0.9, "AdamW's decay of the first moment", at_least=0, below=1)
    beta2: float = setting(0.95, "AdamW's decay of the second moment", at_least=0, below=1)
    momentum: float = setting(0.95, "Muon's momentum", at_least=0, below=1)
    grad_clip: float = setting(1.0, "largest norm of the gradient", above=0)
    z_loss: float = setting(0.0, "weight of the mean of log² Z, Z the sum of the logits' exponentials", at_least=0)
    qk_clip: float = setting(
        0.0, "largest attention score, above which a head's query and key weights shrink; 0: any", at_least=0
    )
    mtp_weight: float = setting(0.3, "weight of the extra heads' mean loss", at_least=0)
    precision: str = setting(
        "auto",
        "precision of matrix products; auto is bfloat16 where the device has instructions for it; float8 is for linear "
        "layers inside blocks, in training, on GPUs that have it",
        choices=("auto", "float32", "bfloat16", "float8"),
    )
    compile: str = setting(
        "auto",
        "torch.compile; auto compiles every run of a study if its confirmation runs are long enough to gain",
        choices=("auto", "on", "off"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pct_start + self.decay_fraction > 1 and self.schedule == "warmup_stable_decay":
            raise SettingsError(
                f"`decay_fraction` is {self.decay_fraction}, but must be <= 1 - pct_start ({1 - self.pct_start:.4g})"
            )
