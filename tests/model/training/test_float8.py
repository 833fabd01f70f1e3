"""Training with linear layers in float8: where it is refused, what it changes, and that it learns."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from model.config import TrainConfig
from model.data.corpus import Corpus
from model.errors import SettingsError
from model.network.linears.dense import Dense
from model.network.linears.float8 import float8_linear
from model.network.transformer import Transformer
from model.training.float8 import missing_float8, use_float8
from model.training.step import Step
from tests.model.network.case import Case
from tests.model.training.stand_in import stand_in
from tests.model.training.test_graphs import agree, outcome, prepared
from tests.model.training.test_menu import trained

SCALED_MM = torch._scaled_mm


def in_float8(network: Transformer) -> set[str]:
    """Return the names of the layers of the first block and of heads that multiply in float8."""
    layers = {n: m.product for n, m in network.named_modules() if isinstance(m, Dense)}
    assert set(layers.values()) <= {float8_linear, F.linear}
    return {n.removeprefix("blocks.0.") for n, product in layers.items() if product is float8_linear}


def test_a_cpu_is_refused() -> None:
    with pytest.raises(SettingsError, match='`precision` is "float8", but only GPUs multiply in it'):
        Step(Case().network(), TrainConfig(precision="float8"), budget_seconds=1.0)


@pytest.mark.parametrize(("capability", "missing"), [((8, 6), True), ((8, 9), False), ((9, 0), False)])
def test_gpus_before_ada_are_refused(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], missing: bool
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    said = "cuda:1 has compute capability 8.6, and float8 begins with 8.9" if missing else ""
    assert missing_float8(torch.device("cuda", 1)) == said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_head": 3}, "widths are no multiples of 16: blocks.0.attention.qkv maps 24 to 72"),
        ({"attention": "latent", "projection_dim": 12}, "blocks.0.attention.kv_down maps 32 to 12"),
        ({"linear": "ternary"}, "a network without dense linear layers"),
    ],
    ids=["width", "projection", "no dense layer"],
)
def test_networks_that_it_does_not_fit_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        use_float8(Case(options=options).network())


def test_dense_layers_inside_blocks_are_in_float8_and_nothing_else() -> None:
    net = Case(options={"mtp_heads": 1, "n_layer": 1, "tied": False}).network()
    assert not in_float8(net)
    use_float8(net)
    parts = {"attention.qkv", "attention.out", "mlp.up", "mlp.down"}
    assert in_float8(net) == parts | {f"mtp.0.block.{part}" for part in parts}
    mixed = Case(options={"experts": 2, "n_layer": 1}).network()
    use_float8(mixed)
    assert in_float8(mixed) == {"attention.qkv", "attention.out"}
    assert not in_float8(Case(options={"n_layer": 1}).network())  # of this network alone


def test_a_captured_product_finds_its_scales_anew() -> None:
    """Replayed with other numbers, it and its gradients are the eager ones, bit for bit."""
    g = torch.Generator().manual_seed(0)
    x, weight, upstream = (torch.randn(shape, generator=g) for shape in ((15, 16), (48, 16), (15, 48)))
    x.requires_grad_()
    weight.requires_grad_()

    def products() -> list[torch.Tensor]:
        y = float8_linear(x, weight)
        return [y.detach(), *torch.autograd.grad(y, [x, weight], upstream.bfloat16())]

    with stand_in():
        graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.graph(graph, stream=stream):
            captured = products()
        with torch.no_grad():
            for t, factor in ((x, 3.7), (weight, 0.2), (upstream, 5.0)):
                t.mul_(factor)
        graph.replay()
        for ours, eager in zip(captured, products(), strict=True):
            assert torch.equal(ours, eager)


def test_captured_steps_are_those_launched_one_by_one() -> None:
    with stand_in():
        steps = [prepared({}, captured=captured, precision="float8") for captured in (True, False)]
        assert {(step.dtype, step.precision) for step in steps} == {(torch.bfloat16, "float8")}
        captured, eager = (outcome(step) for step in steps)
        sixteen = outcome(prepared({}, precision="bfloat16"))
    assert agree(captured, eager)
    assert not agree(captured, sixteen)
    torch.testing.assert_close(captured[-1], sixteen[-1], rtol=1e-3, atol=0)


def without_onednn(*factors: Any, **options: Any) -> torch.Tensor:
    """Return the product as torch itself makes it on a CPU: oneDNN's is forty times slower."""
    onednn = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        return SCALED_MM(*factors, **options)
    finally:
        torch._C._set_mkldnn_enabled(onednn)


def test_it_learns(brief_corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a CPU's products, on built-in text: below the unigram bound."""
    monkeypatch.setattr("model.training.step.require_float8", lambda device: None)
    monkeypatch.setattr(torch, "_scaled_mm", without_onednn)
    result = trained(brief_corpus, monkeypatch, {}, {"precision": "float8"})
    assert result.val_bpb is not None
    assert result.val_bpb < 0.98 * brief_corpus.unigram_bpb
    assert result.precision == "float8"
