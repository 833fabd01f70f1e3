"""Timestep normalisation: groups of channels, normalised over themselves and all tokens so far.

Ma et al. 2024, arXiv:2404.08801, section 3.2: group normalisation (Wu & He 2018, arXiv:1803.08494) that looks at no
later token. Moments are those of Chan, Golub & LeVeque 1979 for two samples put together, here a token's group and all
before: each token adds a square, nothing is subtracted, and no precision is lost where a mean is large.

Shapes: B sequences, T tokens of each, D channels in G groups of W.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.network.shapes import Float

LEAST_VARIANCE = 1e-5
"""Added to every variance, as the authors' code does."""


@dataclass(frozen=True)
class Moments:
    """What is known of the tokens read so far, in float32."""

    count: int
    """Tokens, the same for every sequence and group."""
    mean: Float[Tensor, "B G"]
    squares: Float[Tensor, "B G"]
    """Sum of the squared deviations from the mean, over channels and tokens."""


class TimestepNorm(nn.Module):
    """Group normalisation over all tokens up to each, with a gain and a bias for each channel."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        """Return the tokens normalised, in float32."""
        return self.read(x)[0]

    def read(self, x: Float[Tensor, "B T D"], before: Moments | None = None) -> tuple[Tensor, Moments]:
        """Return the same for tokens that follow those of `before`, and the moments of all."""
        channels = torch.unflatten(x.float(), -1, (self.groups, -1))
        read, width = 0 if before is None else before.count, channels.shape[-1]
        own = channels.mean(dim=-1)  # of each token and group (B T G), as all that follows
        own_squares = (channels - own[..., None]).square().sum(dim=-1)
        # Means are summed as deviations from a number near them, which changes nothing else.
        near = own[:, :1].detach() if before is None else before.mean[:, None]
        count = torch.arange(read + 1, read + x.shape[1] + 1, dtype=torch.float32, device=x.device)[:, None]
        mean = near + (own - near).cumsum(dim=1) / count
        last_mean = torch.cat((near, mean[:, :-1]), dim=1)
        added = own_squares + width * (count - 1) / count * (own - last_mean).square()
        squares = added.cumsum(dim=1) + (0.0 if before is None else before.squares[:, None])
        scale = (squares / (width * count) + LEAST_VARIANCE).rsqrt()
        y = ((channels - mean[..., None]) * scale[..., None]).flatten(2)
        return y * self.weight + self.bias, Moments(read + x.shape[1], mean[:, -1], squares[:, -1])
