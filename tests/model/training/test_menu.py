"""Every option that a study may search learns more from real text than counting can."""

import dataclasses
import itertools
from typing import Any

import pytest

from model.config import ModelConfig, TrainConfig
from model.data.corpus import Corpus
from model.schedule import SCHEDULES
from model.training.train import train
from tests.model.network.menu import MENU
from tests.model.training.test_train import World

TRAINING: dict[str, dict[str, Any]] = {
    **{f"schedule {s}": {"schedule": s} for s in SCHEDULES},
    "muon": {"optimizer": "muon"},
    "muon with clipped scores": {"optimizer": "muon", "qk_clip": 2.0},
    "z-loss": {"z_loss": 1e-2},
    "weight averaging": {"average_fraction": 0.2},
    "bfloat16": {"precision": "bfloat16"},
}
CASES = [
    *(((case.options, {}), name) for name, case in MENU.items()),
    *((({}, o), name) for name, o in TRAINING.items()),
]


@pytest.mark.parametrize(("model_options", "train_options"), [c for c, _ in CASES], ids=[name for _, name in CASES])
def test_it_learns(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, model_options: dict[str, Any], train_options: dict[str, Any]
) -> None:
    """150 steps of 512 tokens on built-in text: below the unigram bound, which no model that ignores order beats."""
    config = ModelConfig(**{"n_layer": 2, "n_head": 4, "head_dim": 16, "context": 64, **model_options})
    training = TrainConfig(**{"batch_size": 8, "max_lr": 1e-2, "compile": "off", **train_options})
    text = dataclasses.replace(corpus, validation=corpus.validation.subset(20_000))
    world = World(monkeypatch, itertools.repeat(1.0))
    result = train(config, training, text, budget_seconds=150, seed=0, clock=world, report_points=(100,))
    assert result.val_bpb is not None
    assert result.val_bpb < 0.98 * corpus.unigram_bpb < corpus.uniform_bpb
