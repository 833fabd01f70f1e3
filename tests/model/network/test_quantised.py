"""Layers of few levels: numbers by hand, gradients by the paper's own formula, and what is stored of them."""

from pathlib import Path
from typing import TypeVar, cast

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.config import ModelConfig
from model.data.corpus import Corpus
from model.errors import CheckpointError
from model.evaluate import val_bpb
from model.formats import checkpoint
from model.formats.checkpoint import load
from model.network.flops import count_parameters
from model.network.linears.quantised import Ternary, TwoBit, packed, unpacked
from model.network.transformer import Transformer
from tests.model.network.ideas.quantised import eight_bits

CPU = torch.device("cpu")
KINDS = {"ternary": Ternary, "two_bit": TwoBit}
WEIGHTS = torch.tensor([[0.1, -0.4, 1.0, 0.0], [-1.3, 0.9, 0.3, 0.0]])
"""Their mean size is 0.5."""


L = TypeVar("L", bound=Ternary)


def layer(kind: type[L], weight: Tensor) -> L:
    made = kind(ModelConfig(), weight.shape[1], weight.shape[0], 0.02)
    with torch.no_grad():
        made.weight.copy_(weight)  # type: ignore[union-attr]
    return made


def test_ternary_levels_by_hand() -> None:
    levels, scale = layer(Ternary, WEIGHTS).quantised()
    assert scale.item() == pytest.approx(0.5)
    assert levels.tolist() == [[0, -1, 1, 0], [-1, 1, 1, 0]]


def test_two_bit_levels_by_hand() -> None:
    """At a factor of 1.2 the scale is 0.6: 0.4 is 2/3 of it and 1.0 is 5/3, nearest to 1/2 and 3/2."""
    made = layer(TwoBit, WEIGHTS)
    made.stretch.data.fill_(1.2)  # type: ignore[union-attr]
    levels, scale = made.quantised()
    assert scale.item() == pytest.approx(0.6)
    assert levels[:, :3].tolist() == [[0.5, -0.5, 1.5], [-1.5, 1.5, 0.5]]
    assert (levels[:, 3].abs() == 0.5).all()


def test_four_levels_lie_where_a_normal_variable_loses_least() -> None:
    """By search, over a million draws."""
    made = layer(TwoBit, torch.randn(1000, 1000, generator=torch.Generator().manual_seed(0)))
    assert made.stretch is not None
    at = float(made.stretch.detach())

    def error(factor: float) -> float:
        made.stretch.data.fill_(factor)  # type: ignore[union-attr]
        levels, scale = made.quantised()
        return float((levels * scale - made.weight).square().mean().detach())  # type: ignore[operator]

    assert error(at) < min(error(0.97 * at), error(1.03 * at))


def published(x: Tensor, weight: Tensor) -> Tensor:
    """BitNet's layer as its authors write it out in "Training tips, code and FAQ", the norm without a gain."""
    norm = x / (x.pow(2).mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()
    a = 127.0 / norm.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)
    w = 1.0 / weight.abs().mean().clamp(min=1e-5)
    inputs = norm + ((norm * a).round().clamp(-128, 127) / a - norm).detach()
    weights = weight + ((weight * w).round().clamp(-1, 1) / w - weight).detach()
    return F.linear(inputs, weights)


def test_ternary_outputs_and_gradients_are_the_authors_own() -> None:
    g = torch.Generator().manual_seed(1)
    made = layer(Ternary, torch.randn(24, 16, generator=g))
    x, weight = torch.randn(3, 5, 16, generator=g).requires_grad_(), made.weight
    assert weight is not None
    target = torch.randn(3, 5, 24, generator=g)
    outputs = made(x), published(x, weight)
    ours, theirs = (torch.autograd.grad((y * target).sum(), [x, weight]) for y in outputs)
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_two_bit_gradients_are_those_of_learnt_steps() -> None:
    """LSQ: Σ G · (level − w / s) is the scale's, weights beyond 2 s add their level alone and get none of their own."""
    g = torch.Generator().manual_seed(2)
    made = layer(TwoBit, torch.randn(6, 8, generator=g))
    assert made.weight is not None
    assert made.stretch is not None
    x = torch.randn(5, 8, generator=g)
    target = torch.randn(5, 6, generator=g)
    by_weight, by_stretch = torch.autograd.grad((made(x) * target).sum(), [made.weight, made.stretch])
    upstream = target.double().T @ eight_bits(x.double())
    mean = made.weight.detach().abs().mean()
    scale = mean * made.stretch.detach()
    quotient = (made.weight.detach() / scale).double()
    levels, within = made.quantised()[0].detach().double(), quotient.abs() < 2
    assert not within.all()
    torch.testing.assert_close(by_weight.double(), upstream * within, rtol=1e-3, atol=1e-3)
    by_scale = (upstream * (levels - quotient * within)).sum()
    torch.testing.assert_close(by_stretch.double()[0], by_scale * mean, rtol=1e-3, atol=1e-3)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
@settings(deadline=None, max_examples=25)
def test_what_is_packed_comes_back(rows: int, columns: int, seed: int) -> None:
    codes = torch.randint(0, 4, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()
    stored = packed(codes)
    assert stored.dtype == torch.uint8
    assert len(stored) == -(-rows * columns // 4)
    assert torch.equal(unpacked(stored, rows, columns), codes)


def test_the_first_number_of_a_byte_is_in_its_lowest_bits() -> None:
    assert packed(torch.tensor([[1.0, 2.0, 3.0, 0.0, 2.0]])).tolist() == [1 + 2 * 4 + 3 * 16, 2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_network_holds_levels_alone_and_gives_the_same_bpb(corpus: Corpus, tmp_path: Path, kind: str) -> None:
    config = ModelConfig(
        n_layer=2, n_head=2, head_dim=32, context=32, linear=kind, projection_dim=13, attention="latent"
    )
    network = Transformer(config, corpus.tokenizer.vocab_size, torch.Generator().manual_seed(3))
    checkpoint.save(tmp_path / "best.pt", network, corpus.tokenizer, {})
    after = load(tmp_path / "best.pt", CPU).network
    quantised = [m for m in after.modules() if isinstance(m, Ternary)]
    assert len(quantised) == 2 * 6
    for module in quantised:
        assert not list(module.parameters())
        (levels, scale), stored = module.quantised(), dict(module.named_buffers())
        assert stored.keys() == {"packed", "scale"}
        assert stored["packed"].dtype == torch.uint8
        assert len(stored["packed"]) == -(-module.n_in * module.n_out // 4)
        assert set(levels.flatten().tolist()) <= ({-1, 0, 1} if kind == "ternary" else {-1.5, -0.5, 0.5, 1.5})
        assert scale.shape == (1,)
    text = corpus.validation.subset(3000)
    assert val_bpb(after, text, 2) == val_bpb(network, text, 2)
    checkpoint.save(tmp_path / "again.pt", after, corpus.tokenizer, {})
    assert val_bpb(load(tmp_path / "again.pt", CPU).network, text, 2) == val_bpb(network, text, 2)
    layers = (cast(Ternary, n.get_submodule("blocks.0.mlp.up")) for n in (network, after))
    (levels, scale), (stored_levels, stored_scale) = (module.quantised() for module in layers)
    assert torch.equal(levels * scale, stored_levels * stored_scale)


def test_a_stored_network_that_lacks_levels_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    config = ModelConfig(n_layer=1, n_head=2, head_dim=8, context=16, linear="ternary")
    network = Transformer(config, corpus.tokenizer.vocab_size)
    path = tmp_path / "best.pt"
    checkpoint.save(path, network, corpus.tokenizer, {})
    content = torch.load(path, weights_only=True)
    assert sum(w.numel() for w in content["weights"].values()) < count_parameters(config, corpus.tokenizer.vocab_size)
    name = "blocks.0.mlp.up.packed"
    content["weights"][name] = content["weights"][name][:-8]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="but its settings need"):
        load(path, CPU)
