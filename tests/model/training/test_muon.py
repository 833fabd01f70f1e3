from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.training.muon import Muon, orthogonal

SHAPES = [(24, 8), (8, 8), (32, 8), (8, 32)]
VIEWS = ("aten.t.", "aten.transpose", "aten.unbind", "aten.view", "aten.unsafe_view", "aten.expand", "aten.detach")


def matrices(layers: int, seed: int = 0, scale: float = 0.02) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=g) for _ in range(layers) for shape in SHAPES]


@pytest.mark.parametrize("shape", [(20, 50), (50, 20), (16, 16)])
def test_orthogonal_maps_singular_values_by_the_polynomial(shape: tuple[int, int]) -> None:
    """Newton–Schulz leaves singular vectors alone and maps each value s to a s + b s³ + c s⁵, five times over."""
    stack = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    u, s, v = torch.linalg.svd(stack.double(), full_matrices=False)
    s = s / s.norm(dim=1, keepdim=True)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    expected = u @ torch.diag_embed(s) @ v
    torch.testing.assert_close(orthogonal(stack, torch.float32).double(), expected, rtol=1e-5, atol=1e-5)
    assert not orthogonal(torch.zeros(2, *shape)).any()


def test_steps_are_torchs_own_at_each_rate() -> None:
    """torch's Muon, matrix by matrix, given the rate itself; weights and what is remembered, to float32's noise."""
    ours, theirs = matrices(3), matrices(3)
    batched = Muon(ours, momentum=0.9, weight_decay=0.1)
    plain = torch.optim.Muon(theirs, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step, rate in enumerate((0.004, 0.02, 0.011)):
        for a, b, gradient in zip(ours, theirs, matrices(3, seed=step + 1, scale=1.0), strict=True):
            a.grad, b.grad = gradient, gradient.clone()
        batched.step(torch.tensor(rate))
        plain.param_groups[0]["lr"] = rate
        plain.step()  # type: ignore[no-untyped-call]
    for a, b, moment in zip(ours, theirs, batched.momentum_buffers, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(moment, plain.state[b]["momentum_buffer"], rtol=1e-6, atol=1e-7)


def test_a_step_is_as_long_as_adamws() -> None:
    """The root mean square of a step is 0.2 of the rate, give or take what the polynomial leaves of S."""
    weights = torch.zeros(64, 256)
    weights.grad = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    Muon([weights], momentum=0.95, weight_decay=0.0).step(torch.tensor(0.01))
    assert weights.square().mean().sqrt().item() / 0.01 == pytest.approx(0.2, rel=0.2)


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that would be kernels; views are none."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not str(func).startswith(VIEWS)
        return func(*args, **(kwargs or {}))


def launches(step: Callable[[], object]) -> int:
    with Launches() as mode:  # type: ignore[no-untyped-call]
        step()
    return int(mode.count)


def test_a_stack_of_matrices_moves_as_each_of_them() -> None:
    """An expert's matrix is made orthogonal by itself, not the experts' as one."""
    generator = torch.Generator().manual_seed(3)
    single = [torch.randn(24, 16, generator=generator) for _ in range(3)]
    stack = torch.stack(single)
    both = [Muon(m, momentum=0.9, weight_decay=0.1) for m in (single, [stack])]
    for _ in range(3):
        gradients = torch.randn(3, 24, 16, generator=generator)
        for matrix, gradient in zip([*single, stack], [*gradients, gradients], strict=True):
            matrix.grad = gradient.clone()
        for muon in both:
            muon.step(torch.tensor(0.05))
    torch.testing.assert_close(stack, torch.stack(single), rtol=1e-2, atol=1e-3)  # its products are in bfloat16


def test_depth_costs_no_launches() -> None:
    """Twelve layers take as many operations as two; torch's own, matrix by matrix, eight times as many."""
    counts = []
    for layers in (2, 12):
        ours = matrices(layers)
        for p, gradient in zip(ours, matrices(layers, seed=1), strict=True):
            p.grad = gradient
        batched = Muon(ours, momentum=0.95, weight_decay=0.1)
        counts.append(launches(partial(batched.step, torch.tensor(0.01))))
    plain = torch.optim.Muon(ours)
    theirs = launches(plain.step)
    assert counts[0] == counts[1]
    assert counts[1] <= 0.15 * theirs
