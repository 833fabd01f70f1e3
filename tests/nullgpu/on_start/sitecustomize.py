"""Runs as a Python process starts on the null GPU, whose folder is on its path: numbers are compared on the host.

AdamW compares its rate, a number of no dimension on the device, and a comparison's kernel does nothing here.
"""

import torch


def _on_the_host(name: str) -> None:
    plain = getattr(torch.Tensor, name)

    def compare(self: torch.Tensor, other: object) -> torch.Tensor:
        scalar = self.is_cuda and not self.ndim and isinstance(other, int | float)
        return plain(self.cpu() if scalar else self, other)  # type: ignore[no-any-return]

    setattr(torch.Tensor, name, compare)


for _name in ("__ge__", "__gt__", "__le__", "__lt__"):
    _on_the_host(_name)
