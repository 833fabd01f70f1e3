from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.config import ModelConfig
from model.network.flops import attended, attention_parameters, count_parameters, flops_per_token
from model.network.transformer import Transformer
from tests.model.network.test_transformer import every_option

FULL = ModelConfig(n_head=4, head_dim=64)


def latent(projection_dim: int) -> ModelConfig:
    return ModelConfig(n_head=4, head_dim=64, attention="latent", projection_dim=projection_dim)


def test_the_write_ups_own_arithmetic() -> None:
    """d 256 and a joint key-value width of 512: 131,072 parameters; a projection pays below 170.67."""
    assert attention_parameters(FULL) == 131_072
    assert attention_parameters(latent(170)) < 131_072 < attention_parameters(latent(171))
    assert round(131_072 / (256 + 512), 2) == 170.67


@every_option
@pytest.mark.parametrize("shape", [(1, 1, 16, 4.0), (3, 4, 32, 4.0), (2, 6, 8, 2.5)])
def test_parameters_by_closed_form(options: dict[str, Any], shape: tuple[int, int, int, float]) -> None:
    n_layer, n_head, head_dim, ratio = shape
    given = {"mlp_ratio": ratio, **options}
    config = ModelConfig(n_layer=n_layer, n_head=n_head, head_dim=head_dim, **given)
    assert count_parameters(config, 1000) == sum(p.numel() for p in Transformer(config, 1000).parameters())


@every_option
def test_operations_are_those_that_torch_counts(options: dict[str, Any]) -> None:
    """torch counts attention's products over all pairs; ours over those that a position attends to."""
    config = ModelConfig(n_layer=2, n_head=4, head_dim=8, context=32, **options)
    net, ids = Transformer(config, 97), torch.zeros(3, 32, dtype=torch.int64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        states = net.states(ids, config.mtp_heads)
        for s in states:
            torch.nn.functional.linear(s, net.output_weight)
    blocks = config.n_layer + config.mtp_heads
    full_attention = blocks * 4 * config.d_model * config.context  # two products, two operations each
    ours = flops_per_token(config, 97) / 3 - blocks * 4 * config.d_model * attended(config) + full_attention
    assert counter.get_total_flops() / ids.numel() == pytest.approx(ours, rel=1e-6)


@pytest.mark.parametrize(("context", "window"), [(8, 0), (8, 3), (8, 8), (5, 1)])
def test_attended_is_the_mean_over_positions(context: int, window: int) -> None:
    config = ModelConfig(context=max(context, 8), window=window)
    reach = [min(t, window or config.context) for t in range(1, config.context + 1)]
    assert attended(config) == pytest.approx(sum(reach) / len(reach))
