"""A policy that remembers, and a judge of where it stands: an LSTM (Hochreiter and Schmidhuber 1997, "Long Short-Term Memory")
between what is seen and what is said, as in Mnih et al. 2016, "Asynchronous Methods for Deep Reinforcement Learning".

The step is one step: what is kept goes in and comes out, so that a client, a film or an exported policy carries it along.

Shapes: B examples, D numbers observed, C frames, H and W pixels, U units of the LSTM, K choices, A numbers of an action.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lamina.models.actor_critic import features_of, orthogonal, spoken
from lamina.nn.precision import full_precision
from lamina.nn.running_norm import RunningNorm


class RecurrentActorCritic(nn.Module):
    """observation (B, D) float32 or (B, C, H, W) uint8, state (B, 2 U): what the LSTM says and its cell, zeros where an episode
    begins, and where choices may be forbidden action_mask (B, K) uint8 -> as `ActorCritic`, and `next_state`."""

    def __init__(
        self,
        shape: Sequence[int],
        kind: str,
        sizes: Sequence[int],
        units: int,
        width: int = 64,
        depth: int = 2,
        normalized: bool = True,
        channels: int = 32,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.pictures = len(shape) == 3
        self.body, features = features_of(shape, width, depth, channels)
        if not self.pictures:
            self.norm = RunningNorm(shape) if normalized else nn.Identity()
        self.lstm = nn.LSTMCell(features, units)
        for name, weight in self.lstm.named_parameters():
            if not weight.is_meta:
                nn.init.orthogonal_(weight) if name.startswith("weight") else nn.init.zeros_(weight)
        self.policy = orthogonal(nn.Linear(units, sum(sizes)), 0.01)
        self.value = orthogonal(nn.Linear(units, 1), 1.0)
        if kind == "continuous":
            self.log_std = nn.Parameter(torch.zeros(sum(sizes)))

    def forward(self, observation: Tensor, state: Tensor, action_mask: Tensor | None = None) -> dict[str, Tensor]:
        seen_BF = self.body(observation if self.pictures else self.norm(observation))
        with full_precision(observation.device):  # what is kept for long is never rounded
            hidden_BU, cell_BU = self.lstm(seen_BF.float(), state.chunk(2, 1))
            said, value_B1 = self.policy(hidden_BU), self.value(hidden_BU)
        log_std = self.log_std if self.kind == "continuous" else None
        kept = {"next_state": torch.cat([hidden_BU, cell_BU], 1)}
        return spoken(self.kind, said, log_std, action_mask) | {"value": value_B1, "features": hidden_BU} | kept
