"""What a policy says, as a distribution over actions: one of n, several of those, or numbers with normal noise.

An action is int64 (B,) for one of n, int64 (B, C) for several choices, float32 (B, A) for numbers.

Shapes: B examples, K choices, C choices at once, A numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Distribution(Protocol):
    """Reads the outputs of a policy. Every answer is (B,) but for `noise` and `sample`."""

    def noise(self, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
        """What `sample` needs of chance, for every place of (*sizes,): (*sizes, ...), on the generator's device."""
        ...

    def sample(self, said: Mapping[str, Tensor], noise: Tensor) -> Tensor: ...
    def log_probability(self, said: Mapping[str, Tensor], action: Tensor) -> Tensor: ...
    def entropy(self, said: Mapping[str, Tensor]) -> Tensor: ...


class Categorical:
    """One of K: `logits` (B, K)."""

    def __init__(self, choices: int) -> None:
        self.choices = choices

    def noise(self, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
        return gumbel_noise((*sizes, self.choices), generator)

    def sample(self, said: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        return (said["logits"] + noise).argmax(1)

    def log_probability(self, said: Mapping[str, Tensor], action: Tensor) -> Tensor:
        return said["logits"].log_softmax(1).gather(1, action.unsqueeze(1)).squeeze(1)

    def entropy(self, said: Mapping[str, Tensor]) -> Tensor:
        return entropy_of(said["logits"])


class MultiCategorical:
    """C choices that are independent of each other: `action_logits` (B, sum of their sizes)."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = list(sizes)

    def noise(self, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
        return gumbel_noise((*sizes, sum(self.sizes)), generator)

    def sample(self, said: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        parts = zip(self.apart(said), noise.split(self.sizes, 1), strict=True)
        return torch.stack([(part + its_noise).argmax(1) for part, its_noise in parts], 1)

    def log_probability(self, said: Mapping[str, Tensor], action: Tensor) -> Tensor:
        chosen = [p.log_softmax(1).gather(1, action[:, i : i + 1]) for i, p in enumerate(self.apart(said))]
        return torch.cat(chosen, 1).sum(1)

    def entropy(self, said: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([entropy_of(part) for part in self.apart(said)]).sum(0)

    def apart(self, said: Mapping[str, Tensor]) -> Sequence[Tensor]:
        return said["action_logits"].split(self.sizes, 1)


class DiagonalNormal:
    """Numbers around `mean` (B, A), each with its own spread, of which `log_std` (B, A) is the logarithm."""

    def __init__(self, width: int) -> None:
        self.width = width

    def noise(self, sizes: Sequence[int], generator: torch.Generator) -> Tensor:
        return torch.empty((*sizes, self.width), device=generator.device).normal_(generator=generator)

    def sample(self, said: Mapping[str, Tensor], noise: Tensor) -> Tensor:
        return said["mean"] + said["log_std"].exp() * noise

    def log_probability(self, said: Mapping[str, Tensor], action: Tensor) -> Tensor:
        away_BA = (action - said["mean"]) * torch.exp(-said["log_std"])
        return (-0.5 * (away_BA.square() + math.log(2 * math.pi)) - said["log_std"]).sum(1)

    def entropy(self, said: Mapping[str, Tensor]) -> Tensor:
        return (said["log_std"] + 0.5 * math.log(2 * math.pi * math.e)).sum(1)


def distribution(kind: str, sizes: Sequence[int]) -> Distribution:
    """That of a kind of actions: `discrete`, `multi-discrete` or `continuous`."""
    if kind == "discrete":
        return Categorical(sizes[0])
    return MultiCategorical(sizes) if kind == "multi-discrete" else DiagonalNormal(sizes[0])


def gumbel_noise(sizes: Sequence[int], generator: torch.Generator) -> Tensor:
    """Noise of Gumbel's distribution: the greatest of logits + noise is a draw from softmax(logits) (Gumbel 1954)."""
    return -torch.empty(*sizes, device=generator.device).exponential_(generator=generator).log()


def entropy_of(logits_BK: Tensor) -> Tensor:
    """(B,) in nats; what is forbidden adds nothing."""
    log_p_BK = logits_BK.log_softmax(1)
    return -(log_p_BK.exp() * log_p_BK).sum(1)


def projected(atom_BZ: Tensor, share_BZ: Tensor, support_S: Tensor) -> Tensor:
    """A distribution of `share` at `atom` as shares of the even `support` (B, S): each share goes to the two nearest points, the
    nearer one gets more; what lies beyond goes to the ends. Bellemare et al. 2017, equation 7."""
    low, high, last = support_S[0], support_S[-1], len(support_S) - 1
    place_BZ = (atom_BZ.clamp(low, high) - low) / (high - low) * last
    below_BZ = place_BZ.floor().clamp(max=last - 1)
    upper_BZ = place_BZ - below_BZ
    made_BS = share_BZ.new_zeros(len(share_BZ), last + 1)
    share_BZ = share_BZ.expand_as(place_BZ)
    made_BS.scatter_add_(1, below_BZ.long(), share_BZ * (1 - upper_BZ))
    return made_BS.scatter_add_(1, below_BZ.long() + 1, share_BZ * upper_BZ)


def quantile_errors(said_BZ: Tensor, worth_BY: Tensor) -> Tensor:
    """Quantile Huber loss of Z quantiles against Y equally probable values (B,): Dabney et al. 2018, equation 10, algorithm 1."""
    count = said_BZ.shape[1]
    tau_Z = (torch.arange(count, device=said_BZ.device, dtype=said_BZ.dtype) + 0.5) / count
    away_BZY = worth_BY.unsqueeze(1) - said_BZ.unsqueeze(2)
    huber_BZY = torch.where(away_BZY.abs() <= 1, 0.5 * away_BZY.square(), away_BZY.abs() - 0.5)
    return ((tau_Z[:, None] - (away_BZY < 0).to(tau_Z.dtype)).abs() * huber_BZY).mean(2).sum(1)
