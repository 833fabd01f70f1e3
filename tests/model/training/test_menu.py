"""Every option that a study may search learns more from real text than counting can."""

import itertools
from typing import Any

import pytest

from model.config import ModelConfig, TrainConfig
from model.data.corpus import Corpus
from model.schedule import SCHEDULES
from model.training.result import Result
from model.training.train import train
from tests.model.network.menu import MENU
from tests.model.training.test_train import World

TRAINING: dict[str, dict[str, Any]] = {
    **{f"schedule {s}": {"schedule": s} for s in SCHEDULES},
    "adamw": {"optimizer": "adamw", "max_lr": 1e-2},
    "clipped scores": {"qk_clip": 2.0},
    "z-loss": {"z_loss": 1e-2},
    "weight averaging": {"average_fraction": 0.2},
    "bfloat16": {"precision": "bfloat16"},
}
STEPS = {"dense": 30, "two_bit": 110}
"""Steps of Muon by the kind of linear layer; others take 70."""
CASES = [
    *(((case.options, {}), name) for name, case in MENU.items()),
    *((({}, o), name) for name, o in TRAINING.items()),
]


def trained(
    brief_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, model_options: dict[str, Any], train_options: dict[str, Any]
) -> Result:
    """Train on 512 tokens a step, with Muon, which needs a fifth of AdamW's steps; coarse weights need more."""
    config = ModelConfig(**{"n_layer": 2, "n_head": 4, "head_dim": 8, "context": 64, **model_options})
    max_lr = 0.05 if config.linear == "dense" else 0.03
    options = {"batch_size": 8, "max_lr": max_lr, "optimizer": "muon", "compile": "off", **train_options}
    steps = 150 if options["optimizer"] == "adamw" else STEPS.get(config.linear, 70)
    world = World(monkeypatch, itertools.repeat(1.0))
    training = TrainConfig(**options)
    return train(config, training, brief_corpus, budget_seconds=steps, seed=0, clock=world, report_points=(100,))


@pytest.mark.parametrize(("model_options", "train_options"), [c for c, _ in CASES], ids=[name for _, name in CASES])
def test_it_learns(
    brief_corpus: Corpus, monkeypatch: pytest.MonkeyPatch, model_options: dict[str, Any], train_options: dict[str, Any]
) -> None:
    """Built-in text: below the unigram bound, which no model that ignores order beats."""
    result = trained(brief_corpus, monkeypatch, model_options, train_options)
    assert result.val_bpb is not None
    assert result.val_bpb < 0.98 * brief_corpus.unigram_bpb < brief_corpus.uniform_bpb
