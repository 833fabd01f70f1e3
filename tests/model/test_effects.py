"""Every setting beside every option: it changes what is computed or learned, or is refused with a sentence."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig, TrainConfig
from model.effects import require_effects
from model.errors import SettingsError
from model.network.loss import batch_loss
from model.network.transformer import Transformer
from model.training.optimizer import Optimizer
from tests.model.network.case import CONTEXT, VOCAB, tokens

pytestmark = pytest.mark.usefixtures("shapes_unchecked")

MEGALODON: dict[str, Any] = {"mixer": "megalodon", "attention_chunk": 5, "norm_groups": 4}


class Option(NamedTuple):
    """Settings that are changed, and those without which they are no matter."""

    change: Mapping[str, Any]
    needs: Mapping[str, Any] = {}


OPTIONS: dict[str, Option] = {
    "mlp_ratio": Option({"mlp_ratio": 12.0}),
    "grouped attention": Option({"attention": "grouped"}),
    "latent attention": Option({"attention": "latent"}),
    "n_kv_head": Option({"n_kv_head": 4}, {"attention": "grouped"}),
    "projection_dim": Option({"projection_dim": 12}, {"attention": "latent"}),
    "window": Option({"window": 5}),
    "global_every": Option({"global_every": 2}, {"window": 5}),
    "alibi": Option({"positions": "alibi"}),
    "rope_base": Option({"rope_base": 20.0}, {"positions": "rope", "mixer": "attention"}),
    "relu2": Option({"mlp": "relu2"}),
    "swiglu": Option({"mlp": "swiglu"}),
    "qk_norm": Option({"qk_norm": True}),
    "logit_softcap": Option({"logit_softcap": 1.0}),
    "untied": Option({"tied": False}),
    "mtp_heads": Option({"mtp_heads": 1}),
    "mtp_weight": Option({"mtp_weight": 0.6}, {"mtp_heads": 1}),
    "segment": Option({"segment": 5}),
    "depth_capacity": Option({"depth_capacity": 0.25}),
    "depth_every": Option({"depth_every": 1}, {"depth_capacity": 0.25}),
    "document_mask": Option({"document_mask": True}),
    "experts": Option({"experts": 4}),
    "experts_per_token": Option({"experts_per_token": 1}, {"experts": 4}),
    "shared_experts": Option({"shared_experts": 1}, {"experts": 4}),
    "expert_capacity": Option({"expert_capacity": 0.5}, {"experts": 4}),
    "expert_bias_rate": Option({"expert_bias_rate": 0.5}, {"experts": 4}),
    "expert_balance_loss": Option({"expert_balance_loss": 0.5}, {"experts": 4}),
    "ring": Option({"linear": "ring"}),
    "bond": Option({"bond": 4}, {"linear": "ring"}),
    "ternary": Option({"linear": "ternary"}),
    "two_bit": Option({"linear": "two_bit"}),
    "linear_in attention": Option({"linear_in": "attention"}, {"linear": "ternary"}),
    "linear_in mlp": Option({"linear_in": "mlp"}, {"linear": "ternary"}),
    "ternary in attention": Option({"linear": "ternary"}, {"linear_in": "attention"}),
    "kv_blocks": Option({"kv_blocks": 2}, {"n_layer": 3}),
    "value_residual": Option({"value_residual": True}),
    "embedding_shortcut": Option({"embedding_shortcut": True}),
    "embedding_norm": Option({"embedding_norm": True}),
    "zero_init": Option({"zero_init": True}),
    "mamba2": Option({"mixer": "mamba2"}),
    "ssm_state": Option({"ssm_state": 8}, {"mixer": "mamba2"}),
    "mamba2, attention_every": Option({"attention_every": 2}, {"mixer": "mamba2"}),
    "megalodon": Option(MEGALODON),
    "ema_dim": Option({"ema_dim": 3}, MEGALODON),
    "attention_chunk": Option({"attention_chunk": 3}, {"mixer": "megalodon"}),
    "norm_groups": Option({"norm_groups": 2}, {"mixer": "megalodon"}),
    "megalodon, attention_every": Option({"attention_every": 2}, MEGALODON),
    "tracks": Option({"tracks": 2}),
    "track_blocks": Option({"track_blocks": 1}, {"tracks": 2}),
    "muon": Option({"optimizer": "muon"}),
    "momentum": Option({"momentum": 0.5}, {"optimizer": "muon"}),
    "weight_decay": Option({"weight_decay": 5.0}),
    "beta1": Option({"beta1": 0.5}),
    "beta2": Option({"beta2": 0.5}),
    "grad_clip": Option({"grad_clip": 0.01}),
    "z_loss": Option({"z_loss": 1.0}),
    "qk_clip": Option({"qk_clip": 1e-3}),
}
"""Each setting's change from its default, of a size that a step or two must show."""
SIZES = {"n_layer", "n_head", "head_dim", "context", "batch_size", "max_lr"}
"""Settings that no network is without."""
NO_MATTER_OF_A_STEP = {
    "schedule": "the rate over the budget, as are the four that follow",
    "pct_start": "",
    "div_factor": "",
    "final_div_factor": "",
    "decay_fraction": "",
    "average_fraction": "what is kept at the end",
    "micro_batch": "memory alone",
    "ssm_chunk": "speed alone",
    "compile": "speed alone",
    "precision": "the device's",
}
"""Settings that these steps can't show, each with what it changes instead."""

pytestmark = pytest.mark.slow
MODEL, TRAIN = ({f.name for f in dataclasses.fields(record)} for record in (ModelConfig, TrainConfig))


def test_every_setting_is_among_them() -> None:
    changed = {name for option in OPTIONS.values() for name in option.change}
    assert changed | SIZES | set(NO_MATTER_OF_A_STEP) == MODEL | TRAIN


@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_acts_or_is_refused_beside_each_other_one(name: str) -> None:
    others = [other for other, option in OPTIONS.items() if other != name and not option.needs.keys() - SIZES]
    without_effect = [other for other in others if not acts(name, other)]
    assert not without_effect, f"{name} is accepted beside these, and changes nothing"


def acts(name: str, beside: str) -> bool:
    """Return whether an option acts beside another one; also True where they exclude one another."""
    option, other = OPTIONS[name], OPTIONS[beside]
    before = together(other.needs, other.change, option.needs)
    if before is None or option.change.keys() & before.keys():
        return True
    one, two = accepted(frozenset(before.items())), accepted(frozenset({**before, **option.change}.items()))
    if one is None or two is None:
        return True
    return differ(first_loss(*computed(*one)), first_loss(*computed(*two))) or differ(outcome(*one), outcome(*two))


def differ(one: Tensor, two: Tensor) -> bool:
    return float((one - two).abs().max()) > 1e-4


def together(*settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return all settings, or None where two ask for different values of one."""
    union: dict[str, Any] = {}
    for key, value in itertools.chain.from_iterable(s.items() for s in settings):
        if union.setdefault(key, value) != value:
            return None
    return union


@functools.cache
def accepted(settings: frozenset[tuple[str, Any]]) -> tuple[ModelConfig, TrainConfig] | None:
    """Return the settings as records, or None where they are refused."""
    try:
        given = {k: v for k, v in settings if k in MODEL}
        model = ModelConfig(**{"n_layer": 2, "n_head": 4, "head_dim": 4, "context": CONTEXT, **given})
        train = TrainConfig(**{k: v for k, v in settings if k in TRAIN})
        require_effects(model, train)
    except SettingsError:
        return None
    return model, train


def computed(model: ModelConfig, train: TrainConfig) -> tuple[ModelConfig, float, float]:
    """Return what a loss hangs on before any step."""
    return model, train.mtp_weight, train.z_loss


def far_from_linear(model: ModelConfig) -> Transformer:
    """Return a network whose weights are large enough for every nonlinearity."""
    network = Transformer(model, VOCAB, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(3)
    return network


@functools.cache
def first_loss(model: ModelConfig, mtp_weight: float, z_loss: float) -> Tensor:
    """Return the loss before any step, the first of `outcome`: it shows most options, and costs the least."""
    return batch_loss(far_from_linear(model), tokens(2, CONTEXT + 1), mtp_weight, False, z_loss)[0].detach()


@functools.cache
def outcome(model: ModelConfig, train: TrainConfig) -> Tensor:
    """Return the losses of two steps and the logits after them."""
    network = far_from_linear(model)
    optimizer, rows = Optimizer(network, train), tokens(2, CONTEXT + 1)
    losses = []
    for _ in range(2):
        loss, _ = batch_loss(network, rows, train.mtp_weight, False, train.z_loss)
        torch.autograd.backward(loss)
        optimizer.rate.fill_(1e-2)
        optimizer.step()
        losses.append(loss.detach())
    with torch.no_grad():
        return torch.cat([torch.stack(losses), network.eval()(rows[:, :-1]).flatten()])
