"""A policy and a judge of where it stands: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", section 6.1.

Numbers: two perceptrons of tanh, 64 x 64, one for the policy and one for the value, which share nothing (Andrychowicz et al.
2021, "What Matters in On-Policy Reinforcement Learning", section 3.2). Pictures: the convolutions of Mnih et al. 2015, shared by
both. Weights are orthogonal, the policy's last ones a hundred times smaller, so that it begins nearly even (Engstrom et al. 2020,
"Implementation Matters in Deep Policy Gradients", section 3).

Shapes: B examples, D numbers observed, C frames, H and W pixels, F features, K choices, A numbers of an action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamina.nn.pixel_conv import PixelConv2d
from lamina.nn.precision import full_precision
from lamina.nn.running_norm import RunningNorm

SQRT2 = math.sqrt(2)
FORBIDDEN = -1e9
"""Logit of an action that is not allowed: no probability, and no gradient that is not a number."""


class ActorCritic(nn.Module):
    """observation (B, D) float32 or (B, C, H, W) uint8, and where choices may be forbidden action_mask (B, K) uint8 ->
    `value` (B, 1), `features` (B, F), and of the policy

    - one of K: `logits` (B, K); several choices: `action_logits` (B, sum of their sizes);
    - numbers: `mean` (B, A) and `log_std` (B, A), which is one number for each, whatever is observed.
    """

    def __init__(
        self,
        shape: Sequence[int],
        kind: str,
        sizes: Sequence[int],
        width: int = 64,
        depth: int = 2,
        normalized: bool = True,
        channels: int = 32,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.pictures = len(shape) == 3
        outputs = sum(sizes)
        self.body, features = features_of(shape, width, depth, channels)
        self.critic: nn.Module = nn.Identity()
        if not self.pictures:
            self.norm = RunningNorm(shape) if normalized else nn.Identity()
            self.critic = perceptron(shape[0], width, depth)
        self.policy = orthogonal(nn.Linear(features, outputs), 0.01)
        self.value = orthogonal(nn.Linear(features, 1), 1.0)
        if kind == "continuous":
            self.log_std = nn.Parameter(torch.zeros(outputs))

    def forward(self, observation: Tensor, action_mask: Tensor | None = None) -> dict[str, Tensor]:
        if self.pictures:
            features_BF = judged_BF = self.body(observation)
        else:
            x_BD = self.norm(observation)
            features_BF, judged_BF = self.body(x_BD), self.critic(x_BD)
        with full_precision(observation.device):  # what is said is never rounded: small differences decide
            said = self.policy(features_BF.float())
            value_B1 = self.value(judged_BF.float())
        log_std = self.log_std if self.kind == "continuous" else None
        return spoken(self.kind, said, log_std, action_mask) | {"value": value_B1, "features": features_BF}


def spoken(kind: str, said: Tensor, log_std: Tensor | None, action_mask: Tensor | None) -> dict[str, Tensor]:
    """What the last layer of a policy says (B, outputs), by the names that `ActorCritic` tells."""
    if action_mask is not None:
        said = said.masked_fill(action_mask == 0, FORBIDDEN)
    if log_std is not None:
        return {"mean": said, "log_std": log_std.expand_as(said)}
    return {"logits" if kind == "discrete" else "action_logits": said}


def features_of(shape: Sequence[int], width: int, depth: int, channels: int) -> tuple[nn.Sequential, int]:
    """What looks at an observation, and how many numbers it makes of it."""
    if len(shape) == 3:
        return nature_convolutions(shape, channels), 16 * channels
    return perceptron(shape[0], width, depth), width if depth else shape[0]


def perceptron(inputs: int, width: int, depth: int) -> nn.Sequential:
    """(B, inputs) -> (B, width): layers of tanh."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [orthogonal(nn.Linear(inputs if i == 0 else width, width), SQRT2), nn.Tanh()]
    return nn.Sequential(*layers)


def nature_convolutions(shape: Sequence[int], channels: int = 32) -> nn.Sequential:
    """(B, C, H, W) of 0..255 -> (B, 16 * channels): Mnih et al. 2015, "Human-level control", Methods, Model architecture, which
    has 32 channels in its first layer, twice as many after it, and 512 features."""
    sides = list(shape[1:])
    for kernel, stride in ((8, 4), (4, 2), (3, 1)):
        sides = [(side - kernel) // stride + 1 for side in sides]
    twice = 2 * channels
    return nn.Sequential(
        orthogonal(PixelConv2d(shape[0], channels, 8, 4), SQRT2),
        nn.ReLU(),
        orthogonal(nn.Conv2d(channels, twice, 4, 2), SQRT2),
        nn.ReLU(),
        orthogonal(nn.Conv2d(twice, twice, 3, 1), SQRT2),
        nn.ReLU(),
        nn.Flatten(),
        orthogonal(nn.Linear(twice * math.prod(sides), 16 * channels), SQRT2),
        nn.ReLU(),
    )


def orthogonal(layer: nn.Linear | nn.Conv2d, gain: float) -> nn.Linear | nn.Conv2d:
    """The layer, with orthogonal weights (Saxe et al. 2014) and no bias."""
    if not layer.weight.is_meta:
        nn.init.orthogonal_(layer.weight, gain)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
