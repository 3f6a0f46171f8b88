"""Does an explanation depend on what the model learned? It must change when weights are randomized.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps", section 3.1: layers lose what they learned one after another, from the
top down, and what was said stays frozen; an explanation that looks the same before a model of random weights shows the input,
not the model. A layer is randomized by putting the entries of each of its weights into random order, which keeps
their distribution and so the scale of what flows through. Tables that are kept with the weights are weights too, whether
trained or not: rounded weights, and the dictionary of a translator, which answers by itself.

Shapes: B examples, P places, N values; `...` are the places of an input.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.explain.subject import Subject

ALIKE = 0.5
"""A mean rank correlation above this, with every layer random, fails the check."""


def layers_from_top(subject: Subject) -> list[str]:
    """The modules that hold weights or tables of their own, the last to run first; what never runs as a module is the lowest."""
    names = {module: name for name, module in subject.model.named_modules()}
    ran: list[str] = []

    def hook(module: nn.Module, _inputs: Any, _said: Any) -> None:
        if names[module] not in ran:
            ran.append(names[module])

    holders = [m for m in names if own_weights(m)]
    handles = [module.register_forward_hook(hook) for module in holders]
    try:
        with torch.no_grad():
            subject.output(subject.leaf.detach())
    finally:
        for handle in handles:
            handle.remove()
    ran = [name for name in ran if name]  # the root ends last, but its own weights act at the bottom or anywhere
    return [*reversed(ran), *(names[m] for m in holders if names[m] not in ran)]


def own_weights(module: nn.Module) -> list[Tensor]:
    """The module's own parameters, and its own buffers of two dimensions or more that are saved with them. Buffers of fewer
    are measures of the input, such as its mean, which no explanation is asked to follow."""
    saved = module.state_dict(keep_vars=True)
    tables = [buffer for name, buffer in module.named_buffers(recurse=False) if name in saved and buffer.dim() > 1]
    return [*module.parameters(recurse=False), *tables]


@torch.no_grad()
def shuffle_weights(module: nn.Module, generator: torch.Generator) -> None:
    """The entries of each of the module's own weights in random order."""
    for weight in own_weights(module):
        order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        weight.copy_(weight.flatten()[order].reshape(weight.shape))


def randomized(subject: Subject, stops: int, seed: int) -> Iterator[tuple[str, float, Subject]]:
    """The subject before models whose weights are random from the top down to a layer: (its name, the share of layers that
    are random, the subject). At most `stops` depths, evenly apart, the last with every layer random."""
    names = layers_from_top(subject)
    model = copy.deepcopy(subject.model)
    generator = torch.Generator().manual_seed(seed)
    wanted = {round((k + 1) * len(names) / stops) for k in range(stops)} - {0}
    for done, name in enumerate(names, start=1):
        shuffle_weights(model.get_submodule(name), generator)
        if done in wanted:
            yield name or "the model's own weights", done / len(names), subject.with_model(model)


def rank_correlation(some: Tensor, others: Tensor) -> Tensor:
    """Spearman's, of each pair of maps (B, ...): (B,), 0 where a map is constant. Equal values share their mean rank."""
    one, other = (_mean_ranks(map_B.flatten(1)) for map_B in (some, others))
    one, other = one - one.mean(1, keepdim=True), other - other.mean(1, keepdim=True)
    scale = one.norm(dim=1) * other.norm(dim=1)
    return torch.where(scale > 0, (one * other).sum(1) / scale.clamp(min=1e-12), 0.0)


def _mean_ranks(values_BP: Tensor) -> Tensor:
    """Ranks from 0 (B, P): the mean of the first and the last place that a value could take in order."""
    values_BP = values_BP.detach().cpu().contiguous()
    sorted_BP = values_BP.sort(1).values
    first = torch.searchsorted(sorted_BP, values_BP)
    last = torch.searchsorted(sorted_BP, values_BP, right=True) - 1
    return (first + last).double() / 2


def structural_similarity(some: Tensor, others: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004, equation 13) of maps (B, H, W), each scaled to 0..1, over 7x7 windows where they fit: (B,)."""
    one, other = (_unit(map_BHW)[:, None] for map_BHW in (some, others))
    side = min(7, *one.shape[2:])
    mean_1, mean_2 = F.avg_pool2d(one, side, 1), F.avg_pool2d(other, side, 1)
    var_1 = F.avg_pool2d(one * one, side, 1) - mean_1**2
    var_2 = F.avg_pool2d(other * other, side, 1) - mean_2**2
    both = F.avg_pool2d(one * other, side, 1) - mean_1 * mean_2
    small_1, small_2 = 0.01**2, 0.03**2  # their constants, for a range of 1
    ssim = (2 * mean_1 * mean_2 + small_1) * (2 * both + small_2)
    return (ssim / ((mean_1**2 + mean_2**2 + small_1) * (var_1 + var_2 + small_2))).mean((1, 2, 3))


def _unit(map_BHW: Tensor) -> Tensor:
    low, high = map_BHW.amin((1, 2), keepdim=True), map_BHW.amax((1, 2), keepdim=True)
    return ((map_BHW - low) / (high - low).clamp(min=1e-12)).double()
