"""What the quick parts measure on: the write-up's shapes on a GPU, tiny ones for a rehearsal."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from model.config import ModelConfig, TokenizerConfig
from model.data.corpus import Corpus
from tests.benchmarks.plain import Shape
from tests.benchmarks.trials import corpus

Figures = dict[str, float | int | str]
Rows = Iterator[tuple[str, Figures]]
"""Rows of a part's table by name, each as soon as it is measured: what is cut off leaves those before it."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large what is measured is, and for how long."""

    device: torch.device
    shapes: dict[str, Shape]
    """The three winners: "middle", "shallow" and "deep"."""
    few: int
    """Sequences of a small batch."""
    compile: str
    rounds: int
    round_seconds: float
    proxy_seconds: float
    trial_seconds: float
    """Budget of each of the ten trials whose memory is watched."""
    logits: tuple[int, ...]
    """Logits held at once, to choose among."""
    sample_bytes: int = TokenizerConfig.sample_bytes
    """Text that tokenizers are trained on."""
    validation_bytes: int | None = None
    """Validation text that trials are measured on at the end; None: all of it."""

    @property
    def middle(self) -> Shape:
        """The shape that variants are compared on."""
        return self.shapes["middle"]

    def text(self, vocab_size: int) -> Corpus:
        """Return the text that trials are trained on."""
        text = corpus("builtin", vocab_size, self.sample_bytes)
        return (
            replace(text, validation=text.validation.subset(self.validation_bytes)) if self.validation_bytes else text
        )


@dataclass(frozen=True, kw_only=True)
class Part:
    """A question with its measurement, and the seconds that it takes on a rented GPU's host, about."""

    name: str
    question: str
    seconds: int
    rows: Callable[[Scale], Rows]


def shape(n_layer: int, n_head: int, head_dim: int, vocab_size: int, context: int, batch: int) -> Shape:
    """Return a shape under its usual name."""
    config = ModelConfig(n_layer=n_layer, n_head=n_head, head_dim=head_dim, context=context)
    vocabulary = f"{vocab_size // 1024}K" if vocab_size >= 1024 else str(vocab_size)
    return Shape(f"{n_layer}L d{config.d_model} {n_head}h {vocabulary}", config, vocab_size, batch)


def full(device: torch.device) -> Scale:
    """Return the scale of a GPU's measurement."""
    return Scale(
        device=device,
        shapes={
            "middle": shape(12, 4, 64, 6144, 512, 64),
            "shallow": shape(5, 3, 96, 8192, 512, 64),
            "deep": shape(32, 6, 32, 12_288, 512, 64),
        },
        few=8,
        compile="on",
        rounds=5,
        round_seconds=1.0,
        proxy_seconds=60.0,
        trial_seconds=1.0,
        logits=(2**23, 2**24, 2**25, 2**27),
    )


def tiny(device: torch.device, compile: str = "off") -> Scale:
    """Return a scale at which every part takes a second or so anywhere: a rehearsal, whose figures mean nothing."""
    return Scale(
        device=device,
        shapes={
            "middle": shape(2, 2, 16, 512, 32, 4),
            "shallow": shape(1, 3, 16, 512, 32, 4),
            "deep": shape(3, 2, 16, 512, 32, 4),
        },
        few=2,
        compile=compile,
        rounds=2,
        round_seconds=0.05,
        proxy_seconds=1.0,
        trial_seconds=0.1,
        logits=(2**13, 2**14),
        sample_bytes=300_000,
        validation_bytes=5_000,
    )
