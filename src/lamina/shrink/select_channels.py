"""What channels are worth, and which of them go.

taylor: the first-order change of the loss when a channel's weights become zero, squared and averaged over batches
(Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", equation 8, of a group of weights):
I = (sum of w * dL/dw)^2, the sum over the columns that read the channel. It is an estimate of the loss, so it is weighed
against what the channel costs. l1: the mean size of a channel's filters (Li et al. 2017, "Pruning Filters for Efficient
ConvNets"). scale: the size of its batch norm's scale (Liu et al. 2017, "Learning Efficient Convolutional Networks through
Network Slimming"). The last two mean nothing across layers, and are divided by their mean over the dimension.

Legend: G groups of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.shrink.channels import Channels, Place
from lamina.shrink.narrow import named

LEAST = 0.125
"""Share of a dimension that always stays: a layer of few channels is a bottleneck that training cannot mend."""


def taylor(model: nn.Module, channels: Channels, losses: Iterable[Callable[[], Tensor]]) -> np.ndarray:
    """The importance (G,) from the loss of several batches, each given as a function that computes it."""
    total = np.zeros(channels.count)
    weights = {place: named(model, place[0]) for place in channels.consumers}
    count = 0
    for loss in losses:
        model.zero_grad(set_to_none=True)
        loss().backward()
        change = np.zeros(channels.count)
        for place, weight in weights.items():
            if weight.grad is not None:
                change += over_groups(channels, place, (weight.detach() * weight.grad).double())
        total, count = total + change**2, count + 1
    model.zero_grad(set_to_none=True)
    return total / max(count, 1)


def over_groups(channels: Channels, place: Place, values: Tensor) -> np.ndarray:
    """The sum of `values` (as the tensor of `place`) over everything that belongs to each group (G,)."""
    along = values.movedim(place[1], 0).reshape(values.shape[place[1]], -1).sum(1).numpy()
    group = channels.group[place]
    return np.bincount(group[group >= 0], along[group >= 0], channels.count)


def by_size(model: nn.Module, channels: Channels, places: Iterable[Place]) -> np.ndarray:
    """The mean absolute value of what each group holds at `places`, relative to the mean of its dimension (G,)."""
    total, count = np.zeros(channels.count), np.zeros(channels.count)
    for place in sorted(places):
        values = named(model, place[0]).detach().abs().double()
        mean = float(values.mean()) or 1.0
        total += over_groups(channels, place, values / mean)
        count += over_groups(channels, place, torch.ones_like(values))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def l1(model: nn.Module, channels: Channels) -> np.ndarray:
    """Mean size of filters (G,); of what reads a channel where nothing makes it."""
    made, read = by_size(model, channels, channels.producers), by_size(model, channels, channels.consumers)
    return np.where(np.isnan(made), read, made)


def scale(model: nn.Module, channels: Channels) -> np.ndarray:
    """Size of batch norms' scales (G,); l1 where no norm stands."""
    norms = by_size(model, channels, channels.scales)
    return np.where(np.isnan(norms), l1(model, channels), norms)


def flops_of(channels: Channels, keep: np.ndarray) -> int:
    """Multiplications and additions of the layers for one example, where the groups `keep` (G,) stay."""
    total = 0.0
    for weight, flops in channels.layers:
        share = 1.0
        for place in (p for p in channels.group if p[0] == weight):
            share *= stays(channels, place, keep).mean()
        total += flops * share
    return round(total)


def stays(channels: Channels, place: Place, keep: np.ndarray) -> np.ndarray:
    """Which indices of a dimension stay, (its size,) booleans."""
    group = channels.group[place]
    return (group < 0) | keep[group]


def chosen(channels: Channels, importance: np.ndarray, flops: float, multiple: int, fixed: int, costs: bool) -> np.ndarray:
    """Which groups stay (G,): those of least importance go until the share `flops` of all FLOPs is left.

    fixed: FLOPs that no group changes. costs: importance is weighed against the FLOPs that a group costs.
    Every dimension keeps an eighth, and a multiple of `multiple`. Raises LaminaError where the share cannot be reached.
    """
    whole = np.ones(channels.count, bool)
    full = flops_of(channels, whole) + fixed
    worth = importance / np.maximum(saved(channels), 1) if costs else importance
    order = np.argsort(worth, kind="stable")
    low, high, best = 0, channels.count, None
    while low < high:  # fewest that reach the share
        middle = (low + high) // 2
        keep = whole.copy()
        keep[order[: middle + 1]] = False
        keep = rounded(channels, keep, order[::-1], multiple)
        if flops_of(channels, keep) + fixed <= flops * full:
            best, high = keep, middle
        else:
            low = middle + 1
    if best is None:
        least = rounded(channels, np.zeros(channels.count, bool), order[::-1], multiple)
        share = (flops_of(channels, least) + fixed) / full
        raise LaminaError(
            f"--flops: expected a share of {share:.2f} or more: the rest is tied to the answer or to norms over all channels; "
            f"got {flops:g}"
        )
    return best


def saved(channels: Channels) -> np.ndarray:
    """The FLOPs that each group costs by itself (G,): its share of every dimension that it belongs to."""
    cost = np.zeros(channels.count)
    for weight, flops in channels.layers:
        for (name, _), group in channels.group.items():
            if name == weight:
                cost += flops / len(group) * np.bincount(group[group >= 0], minlength=channels.count)
    return cost


def rounded(channels: Channels, keep: np.ndarray, best_first: np.ndarray, multiple: int) -> np.ndarray:
    """`keep` with the best of the others back, until every dimension holds an eighth, and a multiple of `multiple`.

    Dimensions of fewer than 4 * multiple channels are not held to multiples.
    """
    keep = keep.copy()
    for place in sorted(channels.producers | channels.consumers):
        group = channels.group[place]
        own = set(group[group >= 0].tolist())
        size, often = len(group), max(1, int((group >= 0).sum()) // max(len(own), 1))
        have = int(stays(channels, place, keep).sum())
        wanted = max(have, int(np.ceil(LEAST * size)), 1)
        if size >= 4 * multiple * often:
            wanted = min(size, -(-wanted // (multiple * often)) * multiple * often)
        for g in (int(g) for g in best_first if int(g) in own and not keep[g]):
            if have >= wanted:
                break
            keep[g] = True
            have += int((group == g).sum())
    return keep


def surgeries_of(channels: Channels, keep: np.ndarray) -> list[dict[str, Any]]:
    """The surgeries that leave the groups `keep` (G,) alone."""
    made = []
    for (name, dim), group in sorted(channels.group.items()):
        left = stays(channels, (name, dim), keep)
        if not left.all():
            made.append(
                {"surgery": "narrow", "tensor": name, "dim": dim, "keep": np.flatnonzero(left).tolist(), "of": len(group)}
            )
    return made


@torch.no_grad()
def mask(model: nn.Module, channels: Channels, keep: np.ndarray) -> None:
    """Make what reads the other channels zero: the whole network that the smaller one must equal."""
    for place in channels.consumers:
        weight = named(model, place[0])
        gone = torch.from_numpy(np.flatnonzero(~stays(channels, place, keep)))
        weight.index_fill_(place[1], gone, 0.0)


def difference(one: Sequence[Any] | Any, other: Any) -> float:
    """The greatest difference between two Outputs, the features left out, relative to the greatest value."""
    pairs = [(one[k], other[k]) for k in one if k != "features"] if isinstance(one, dict) else [(one, other)]
    return max((float(((a - b).abs().max() / b.abs().max().clamp(min=1e-6)).detach()) for a, b in pairs), default=0.0)
