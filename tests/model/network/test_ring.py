"""Rings of tensors against the dense matrices that they stand for."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig, TrainConfig
from model.errors import SettingsError
from model.network.linears.ring import Ring, factors, paired_factors
from model.training.optimizer import Optimizer
from tests.model.network.case import Case
from tests.model.network.ideas.ring import dense_matrix


def ring(bond: int, n_in: int, n_out: int, std: float = 0.02, seed: int = 0) -> Ring:
    layer = Ring(ModelConfig(bond=bond), n_in, n_out, std)
    layer.draw(torch.Generator().manual_seed(seed))
    return layer


@given(st.integers(1, 5), st.integers(1, 30), st.integers(1, 30))
@settings(deadline=None, max_examples=25)
@torch.no_grad()
def test_it_is_the_dense_matrix_whatever_the_widths(bond: int, n_in: int, n_out: int) -> None:
    layer = ring(bond, n_in, n_out, std=1.0).double()
    x = torch.randn(7, n_in, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(x), x @ dense_matrix(*layer.cores).T)
    assert sum(p.numel() for p in layer.parameters()) == Ring.counts(ModelConfig(bond=bond), n_in, n_out).parameters


@given(st.integers(1, 2000))
def test_factors_are_the_nearest_to_one_another(width: int) -> None:
    a, b, c = factors(width)
    assert a * b * c == width
    assert a <= b <= c
    if width <= 100:
        triples = [(x, y, z) for x in range(1, width + 1) for y in range(1, width + 1) for z in [width // (x * y)]]
        assert a + b + c == min(sum(t) for t in triples if math.prod(t) == width)


def test_the_write_ups_width_by_hand() -> None:
    """256 = 4 · 8 · 8, and so 128 R² parameters instead of 65,536: as many at a bond of 22.6."""
    assert paired_factors(256, 256) == [(4, 8), (8, 8), (8, 4)]
    assert paired_factors(256, 768) == [(4, 12), (8, 8), (8, 8)]
    assert Ring.counts(ModelConfig(bond=8), 256, 256).parameters == 128 * 64


@torch.no_grad()
def test_the_initial_matrix_has_the_dense_scale_at_every_bond_and_tends_to_the_dense_one() -> None:
    """A dense one's entries have kurtosis 3, and its largest singular value is std · (√256 + √256) (Bai & Yin 1993).

    At a bond of 1 an entry is a product of three normals: kurtosis 27.
    """
    away = []
    for bond in (1, 4, 16):
        matrices = torch.stack([ring(bond, 256, 256, seed=seed).matrix() for seed in range(20)])
        assert matrices.std().item() == pytest.approx(0.02, rel={1: 0.5, 4: 0.1, 16: 0.03}[bond])
        kurtosis = (matrices**4).mean() / (matrices**2).mean() ** 2
        largest = torch.linalg.matrix_norm(matrices, ord=2).mean() / (0.02 * 32)
        away.append((kurtosis.item() - 3, largest.item() - 1))
    for nearer, farther in zip(away[1:], away[:-1], strict=True):
        assert abs(nearer[0]) < abs(farther[0])
        assert abs(nearer[1]) < abs(farther[1])
    assert away[0][0] > 10
    assert abs(away[-1][0]) < 0.1
    assert abs(away[-1][1]) < 0.05


def test_one_that_begins_as_zero_learns_all_the_same() -> None:
    layer = ring(3, 12, 8, std=0.0)
    assert not layer.matrix().any()
    layer(torch.ones(1, 12)).sum().backward()
    assert layer.cores[-1].grad is not None
    assert layer.cores[-1].grad.any()


def test_clipping_query_weights_that_are_no_rows_is_refused() -> None:
    rings = Case(options={"linear": "ring"}).network()
    with pytest.raises(SettingsError, match=r'`qk_clip` is 1\.0, but must be 0 where linear = "ring"'):
        Optimizer(rings, TrainConfig(qk_clip=1.0))
    Optimizer(Case(options={"linear": "ring", "linear_in": "mlp"}).network(), TrainConfig(qk_clip=1.0))
