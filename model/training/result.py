"""What a run says: at each report point, and at its end."""

from dataclasses import dataclass

from model.network.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is known at a report point."""

    percent: int
    val_bpb: float
    train_seconds: float
    tokens: int
    steps: int
    learning_rate: float
    train_bpb: float | None = None
    """Mean over the steps since the report before, in bits per byte of the training text; None before the first step.

    Each batch was measured before it was learned from, by weights that were still moving: where the text is seen
    several times, it falls below `val_bpb`, and where learning is fast, it lags behind.
    """
    dropped_share: float | None = None
    """Share of the choices of experts, since the report before, that found no room; None without experts."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """A run's end. `val_bpb` is over the full validation text, or None when a report stopped the run.

    Seconds are of the whole run: where it went on from a kept state, those spent until then are among them.
    """

    val_bpb: float | None
    reports: tuple[Report, ...]
    network: Transformer
    n_params: int
    """All parameters."""
    n_active_params: int | None = None
    """Those that a token passes through; None if they weren't told apart."""
    steps: int
    tokens: int
    micro_batch: int
    mode: str
    """How steps were run: eager or compiled, with CUDA graphs or without."""
    precision: str
    """Of matrix products."""
    mfu: float
    """Model FLOPs utilisation: operations that the model needs ÷ what the device could have done in that time."""
    startup_seconds: float
    compile_seconds: float
    train_seconds: float
    evaluate_seconds: float
    total_seconds: float

    @property
    def train_bpb(self) -> float | None:
        """Training loss at the end: that of the last report."""
        return self.reports[-1].train_bpb if self.reports else None

    @property
    def dropped_share(self) -> float | None:
        """Share of the choices of experts that found no room at the end: that of the last report."""
        return self.reports[-1].dropped_share if self.reports else None

    @property
    def tokens_per_second(self) -> float:
        """Training tokens per second on the clock."""
        return self.tokens / self.train_seconds if self.train_seconds > 0 else 0.0
