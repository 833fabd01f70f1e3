import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from model.config import ModelConfig
from model.network.counts import attended
from model.network.flops import count_parameters, flops_per_token
from model.network.mixers import MIXERS
from model.network.transformer import Transformer
from tests.model.network.case import VOCAB, Case
from tests.model.network.menu import every_case

FULL = ModelConfig(n_head=4, head_dim=64)


def latent(projection_dim: int) -> ModelConfig:
    return ModelConfig(n_head=4, head_dim=64, attention="latent", projection_dim=projection_dim)


def attention_parameters(config: ModelConfig) -> int:
    """Those of keys and values: without queries and output, d² each."""
    counts = MIXERS[config.attention].counts(config, config.layer(0))
    return counts.parameters - 2 * config.d_model**2


def test_the_write_ups_own_arithmetic() -> None:
    """d 256 and a joint key-value width of 512: 131,072 parameters; a projection pays below 170.67."""
    assert attention_parameters(FULL) == 131_072
    assert attention_parameters(latent(170)) < 131_072 < attention_parameters(latent(171))
    assert round(131_072 / (256 + 512), 2) == 170.67


@every_case
@pytest.mark.parametrize(
    ("n_layer", "n_head", "head_dim", "mlp_ratio"), [(1, 1, 16, 4.0), (5, 4, 32, 4.0), (2, 6, 8, 2.5)]
)
def test_parameters_by_closed_form(case: Case, n_layer: int, n_head: int, head_dim: int, mlp_ratio: float) -> None:
    config = case.config(n_layer=n_layer, n_head=n_head, head_dim=head_dim, mlp_ratio=mlp_ratio)
    assert count_parameters(config, 1000) == sum(p.numel() for p in Transformer(config, 1000).parameters())


@every_case
def test_operations_are_those_that_torch_counts(case: Case) -> None:
    """torch counts attention's products over all pairs; ours over those that a position attends to."""
    config = case.config(context=32)
    net, ids = Transformer(config, VOCAB), torch.zeros(3, 32, dtype=torch.int64)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        states = net.states(ids, config.mtp_heads)
        for s in states:
            torch.nn.functional.linear(s, net.output_weight)
    forward = flops_per_token(config, VOCAB) / 3
    assert counter.get_total_flops() / ids.numel() == pytest.approx(forward + case.counted_too(config), rel=1e-6)


@pytest.mark.parametrize(("context", "window"), [(8, 0), (8, 3), (8, 8), (5, 1)])
def test_attended_is_the_mean_over_positions(context: int, window: int) -> None:
    config = ModelConfig(context=max(context, 8), window=window)
    reach = [min(t, window or config.context) for t in range(1, config.context + 1)]
    assert attended(config.context, config.window) == pytest.approx(sum(reach) / len(reach))
