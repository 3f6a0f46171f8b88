"""What each action is worth: Mnih et al. 2015, "Human-level control through deep reinforcement learning".

Options, each a part of its own: a value and advantages beside each other (Wang et al. 2016, "Dueling Network Architectures"),
noisy layers (Fortunato et al. 2018), and the distribution of what an action is worth in place of its mean (Bellemare et al. 2017,
"A Distributional Perspective on Reinforcement Learning"; Dabney et al. 2018, "Distributional Reinforcement Learning with Quantile
Regression").

Shapes: B examples, D numbers observed, C frames, H and W pixels, F features, K actions, Z atoms or quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamina.nn.noisy_linear import NoisyLinear
from lamina.nn.pixel_conv import PixelConv2d
from lamina.nn.precision import full_precision

FORBIDDEN = -1e9
"""What an action that is not allowed is worth."""


class QNetwork(nn.Module):
    """observation (B, D) float32 or (B, C, H, W) uint8, and where choices may be forbidden action_mask (B, K) uint8 ->
    `action_values` (B, K), which are `logits` too, `features` (B, F), and of a distribution `atoms` (B, K, Z): log probabilities
    of `support`, or quantiles.

    support: (low, high) of categorical atoms; None: quantiles, where there is more than one atom. channels: of the first
    convolution. bounds: least and greatest of each number observed, which are brought to -1 and 1; None: numbers as they are.
    """

    support: Tensor
    center: Tensor
    reach: Tensor

    def __init__(
        self,
        shape: Sequence[int],
        actions: int,
        width: int = 128,
        depth: int = 2,
        dueling: bool = False,
        noisy: bool = False,
        atoms: int = 1,
        support: tuple[float, float] | None = None,
        channels: int = 32,
        bounds: tuple[Sequence[float | None], Sequence[float | None]] | None = None,
    ) -> None:
        super().__init__()
        linear = NoisyLinear if noisy else nn.Linear
        if len(shape) == 3:
            self.body, features, hidden = convolutions(shape, channels)
        else:
            self.body, features, hidden = perceptron(shape[0], width, max(depth - 1, 0)), width if depth > 1 else shape[0], width
        self.bounded = bounds is not None
        if bounds is not None:
            center, half = zip(*map(middle, *bounds), strict=True)
            self.register_buffer("center", torch.tensor(center))
            self.register_buffer("reach", torch.tensor(half))
        self.atoms, self.actions, self.categorical = atoms, actions, support is not None
        self.advantage = nn.Sequential(linear(features, hidden), nn.ReLU(), linear(hidden, actions * atoms))
        self.state = nn.Sequential(linear(features, hidden), nn.ReLU(), linear(hidden, atoms)) if dueling else None
        if support is not None:
            self.register_buffer("support", torch.linspace(*support, atoms))

    def forward(self, observation: Tensor, action_mask: Tensor | None = None) -> dict[str, Tensor]:
        features_BF = self.body((observation - self.center) / self.reach if self.bounded else observation)
        said_BKZ = exactly(self.advantage, features_BF).unflatten(1, (self.actions, self.atoms))
        if self.state is not None:  # their equation 9
            said_BKZ = said_BKZ - said_BKZ.mean(1, keepdim=True) + exactly(self.state, features_BF).unsqueeze(1)
        found = {"features": features_BF}
        if self.categorical:
            found["atoms"] = said_BKZ.log_softmax(2)
            value_BK = (found["atoms"].exp() * self.support).sum(2)
        else:
            value_BK = said_BKZ.mean(2)
            if self.atoms > 1:
                found["atoms"] = said_BKZ
        if action_mask is not None:
            value_BK = value_BK.masked_fill(action_mask == 0, FORBIDDEN)
        return {"logits": value_BK, "action_values": value_BK, **found}


def perceptron(inputs: int, width: int, depth: int) -> nn.Sequential:
    """(B, inputs) -> (B, width), or as it was where there is no layer."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(inputs if i == 0 else width, width), nn.ReLU()]
    return nn.Sequential(*layers)


def exactly(head: nn.Sequential, features_BF: Tensor) -> Tensor:
    """The head, whose last layer is never rounded: small differences decide which action is best."""
    hidden_BH = head[:-1](features_BF)
    with full_precision(hidden_BH.device):
        return head[-1](hidden_BH.float())


def middle(low: float | None, high: float | None) -> tuple[float, float]:
    """The middle of two bounds, and how far they are from it; (0, 1) where one is missing."""
    return (0.0, 1.0) if low is None or high is None or low >= high else ((low + high) / 2, (high - low) / 2)


def convolutions(shape: Sequence[int], channels: int) -> tuple[nn.Sequential, int, int]:
    """(B, C, H, W) of 0..255 -> (B, F); F; and the width of the layer that follows: Mnih et al. 2015, Model architecture, which
    has 32 channels in its first layer, twice as many after it, and 512 units."""
    sides = list(shape[1:])
    for kernel, stride in ((8, 4), (4, 2), (3, 1)):
        sides = [(side - kernel) // stride + 1 for side in sides]
    twice = 2 * channels
    first, second, third = PixelConv2d(shape[0], channels, 8, 4), nn.Conv2d(channels, twice, 4, 2), nn.Conv2d(twice, twice, 3, 1)
    layers = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third, nn.ReLU(), nn.Flatten())
    return layers, twice * math.prod(sides), 16 * channels
