"""Counterfactual pictures, and any continuous input: the smallest change that makes the model say something else.

Decoupled direction and norm (Rony et al. 2019, "DDN", algorithm 1): a change grows along the gradient of what was said,
while its length shrinks by a share when the answer has flipped and grows by it when not. The shortest change that flipped is
kept, in raw units, within the declared range.

Shapes: B examples; `...` are those of a leaf.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.explain.subject import Subject, gradient_at
from lamina.leaf import clamp
from lamina.task import Input

STEPS = 60
SHARE = 0.05


@dataclass(frozen=True)
class Flip:
    """The nearest inputs found that are answered otherwise. Where none was, `found` is False and the leaf is as it was."""

    leaf: Tensor
    found: Tensor
    """(B,) bool."""
    length: Tensor
    """(B,) the Euclidean length of the change, in raw units."""
    answer: Tensor
    """(B,) the class that is said there."""


def flips(subject: Subject, steps: int = STEPS) -> Flip:
    """The shortest changes that flip an answer of one of K. Expects a leaf that is the input, and a class that was said."""
    spec, x, said_B = subject.task.inputs[0], subject.leaf.detach(), subject.label
    assert said_B is not None
    wide = [1] * (x.dim() - 1)
    size = float(torch.as_tensor(spec.high).max() - torch.as_tensor(spec.low).min()) if _bounded(spec) else 1.0
    reach_B = torch.full((len(x),), size * x[0].numel() ** 0.5 / 20, device=x.device)
    change, best, best_B = torch.zeros_like(x), x.clone(), torch.full((len(x),), float("inf"), device=x.device)
    answer_best_B = said_B.clone()
    for step in range(steps):
        if step:
            gradient = gradient_at(subject, x + change)
            direction = gradient / _length(gradient).clamp(min=1e-20).view(-1, *wide)
            pace = reach_B * (0.05 + 0.95 * (1 - step / steps))  # long steps first; relative to the length itself
            change = change - pace.view(-1, *wide) * direction
            change = change * (reach_B / _length(change).clamp(min=1e-20)).view(-1, *wide)
            change = clamp(x + change, spec.low, spec.high) - x if _bounded(spec) else change
        answer_B = subject.answer(x + change)
        flipped_B = answer_B != said_B
        length_B = _length(change)
        better_B = flipped_B & (length_B < best_B)
        best = torch.where(better_B.view(-1, *wide), x + change, best)
        best_B = torch.where(better_B, length_B, best_B)
        answer_best_B = torch.where(better_B, answer_B, answer_best_B)
        if step:
            shorter_B = torch.minimum(reach_B, length_B)
            reach_B = torch.where(flipped_B, shorter_B * (1 - SHARE), reach_B * (1 + SHARE))
    found_B = best_B.isfinite()
    return Flip(best, found_B, torch.where(found_B, best_B, 0.0), answer_best_B)


def whole(subject: Subject, flip: Flip) -> Flip:
    """The same in whole raw units, as a file holds them: a change lengthened by up to a half where rounding undoes the flip."""
    x, wide = subject.leaf.detach(), [1] * (subject.leaf.dim() - 1)
    spec, change = subject.task.inputs[0], flip.leaf - subject.leaf.detach()
    found, best, answer = torch.zeros_like(flip.found), x.clone(), flip.answer.clone()
    for factor in (1.0, 1.02, 1.05, 1.1, 1.2, 1.5):
        rounded = clamp((x + factor * change).round(), spec.low, spec.high)
        said_B = subject.answer(rounded)
        new = (said_B != subject.label) & ~found & flip.found
        best = torch.where(new.view(-1, *wide), rounded, best)
        answer = torch.where(new, said_B, answer)
        found = found | new
    return Flip(best, found, torch.where(found, _length(best - x), 0.0), answer)


def _bounded(spec: Input) -> bool:
    return spec.low is not None and spec.high is not None


def _length(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)
