"""AdamW, alone or beside Muon, with a learning rate that lives on the device, and the averaging of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from model.config import TrainConfig
from model.network.linears.stack import Stack
from model.network.transformer import Transformer
from model.training.balancing import Balancing
from model.training.muon import Muon
from model.training.qk_clip import QKClip


class Optimizer:
    """Clips, steps and clears; nothing in it waits for the device, so that all of it can be captured.

    AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), fused, decays matrices only. Muon takes the blocks' matrices,
    its step scaled to AdamW's size, so that the same rates and decays serve both; embeddings and vectors stay with
    AdamW.
    """

    def __init__(self, network: Transformer, training: TrainConfig) -> None:
        self.parameters: list[Tensor] = list(network.parameters())
        self._training = training
        device = self.parameters[0].device
        self.rate = torch.tensor(training.max_lr, device=device)
        # Further heads that weigh nothing get no gradient, and Muon wants one of every matrix.
        learned = [network.blocks, *([network.mtp] if training.mtp_weight else [])]
        inner = {id(p) for m in learned for p in m.parameters() if p.ndim == 2}
        inner |= {id(m.weight) for modules in learned for m in modules.modules() if isinstance(m, Stack)}
        self._by_muon = [p for p in self.parameters if id(p) in inner and training.optimizer == "muon"]
        taken = {id(p) for p in self._by_muon}
        rest = [p for p in self.parameters if id(p) not in taken]
        self.adamw = torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim >= 2], "weight_decay": training.weight_decay},
                {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=self.rate,
            betas=(training.beta1, training.beta2),
            fused=True,
            capturable=device.type == "cuda",
        )
        self.clip = QKClip(network, training.qk_clip) if training.qk_clip else None
        self.balancing = Balancing(network)
        self.muon: Muon | None = None
        if self._by_muon:
            self.muon = Muon(self._by_muon, momentum=training.momentum, weight_decay=training.weight_decay)

    def step(self) -> None:
        """Update the weights from their gradients at `rate`, and clear the gradients."""
        torch.nn.utils.clip_grad_norm_(self.parameters, self._training.grad_clip)
        self.adamw.step()
        if self.muon is not None:
            self.muon.step(self.rate)
        if self.clip is not None:
            self.clip.step()
        self.balancing.step()
        self.clear()

    def clear(self) -> None:
        """Forget the gradients: the next backward pass writes them anew, with nothing to zero and to add to."""
        for p in self.parameters:
            p.grad = None

    def state(self) -> list[Tensor]:
        """Return what it remembers of the steps so far, in an order that depends on the network alone."""
        by_adamw = [self.adamw.state[p] for g in self.adamw.param_groups for p in g["params"] if p in self.adamw.state]
        moments = [value for state in by_adamw for _, value in sorted(state.items()) if isinstance(value, Tensor)]
        return [*moments, *(self.muon.momentum_buffers if self.muon is not None else [])]

    def reset(self) -> None:
        """Forget every step, in place: as if none had been made."""
        for value in self.state():
            value.zero_()
        if self.clip is not None:
            self.clip.reset()
        self.balancing.reset()
        self.clear()


class Average:
    """The running mean of a network's weights over steps (stochastic weight averaging, arXiv:1803.05407)."""

    def __init__(self, parameters: list[Tensor]) -> None:
        self._parameters, self.count = parameters, 0
        self.mean = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def add(self) -> None:
        """Count the weights as they are now."""
        self.count += 1
        if self.count == 1:
            torch._foreach_copy_(self.mean, self._parameters)
        else:
            torch._foreach_lerp_(self.mean, self._parameters, 1 / self.count)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their mean, where there is one."""
        if self.count:
            for p, mean in zip(self._parameters, self.mean, strict=True):
                kept = p.detach().clone()
                p.copy_(mean)
                mean.copy_(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the mean in the weights' place for the length of a block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
