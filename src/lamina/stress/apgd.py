"""APGD: gradient ascent with momentum that halves its own step, and starts again from its best point when it does.

Source: Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks" (arXiv:2003.01690), algorithm 1 and section 3.1, with the checkpoints of the authors' code. What changed: examples
that are fooled are left alone at the next checkpoint, which saves time and changes no answer.

Shapes: B examples; a displacement z is as the leaf (B, ...).
"""

from __future__ import annotations

import torch

from lamina.stress.space import like
from lamina.stress.steps import Found
from lamina.stress.victim import Objective, Victim

MOMENTUM = 0.75
"""The share of the gradient step; the rest is the last move (alpha in the paper)."""
RHO = 0.75
"""Steps between two checkpoints that must raise the objective, or the step is halved."""


def checkpoints(steps: int) -> list[int]:
    """The steps after which step sizes are judged: p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06), p_0 = 0, p_1 = 0.22, times N.

    In whole steps as in the authors' code: 0.22 N, less 0.03 N each time, never below 0.06 N, each at least one.
    """
    gap, shrink, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    found, at = [], gap
    while at <= steps:
        found.append(at)
        gap = max(gap - shrink, least)
        at += gap
    return found


def apgd(victim: Victim, objective: Objective, steps: int, restarts: int, generator: torch.Generator) -> Found:
    """`steps` gradient steps from each of `restarts` random starts, over the examples that are not fooled yet."""
    found = Found.nothing(victim)
    for _ in range(restarts):
        rows = found.left()
        if not len(rows):
            break
        _one_run(victim.take(rows), rows, objective, steps, generator, found)
    return found


def _one_run(
    part: Victim, rows: torch.Tensor, objective: Objective, steps: int, generator: torch.Generator, found: Found
) -> None:
    z = part.space.start(generator)
    z = part.space.project(z * (part.space.eps / like(part.space.size(z).clamp(min=1e-12), z)))  # on the border, as theirs
    loss, fooled, gradient = part.gradient(z, objective)
    found.see(rows, z, loss, fooled)
    z_best, best, gradient_best = z, loss, gradient
    z_before, last_loss = z, loss
    rate = torch.full_like(loss, 2 * part.space.eps)
    rises = torch.zeros_like(loss)
    halved = torch.ones_like(loss, dtype=torch.bool)
    best_at_check, last_check = best, 0
    for step, check in _marked(steps):
        momentum = MOMENTUM if step > 1 else 1.0
        space = part.space
        ahead = space.project(z + like(rate, z) * space.toward(gradient))
        z, z_before = space.project(z + momentum * (ahead - z) + (1 - momentum) * (z - z_before)), z
        loss, fooled, gradient = part.gradient(z, objective)
        found.see(rows, z, loss, fooled)
        better = loss > best
        wide = like(better, z)
        z_best, gradient_best = torch.where(wide, z, z_best), torch.where(wide, gradient, gradient_best)
        best = torch.where(better, loss, best)
        rises += loss > last_loss
        last_loss = loss
        if not check:
            continue
        # Too few rises, or no better point since the last check although the step was kept: halve, and go back to the best.
        halve = (rises <= RHO * (step - last_check)) | (~halved & (best_at_check >= best))
        rate = torch.where(halve, rate / 2, rate)
        wide = like(halve, z)
        z, gradient = torch.where(wide, z_best, z), torch.where(wide, gradient_best, gradient)
        halved, best_at_check, last_check, rises = halve, best, step, torch.zeros_like(rises)
        keep = ~found.fooled[rows]
        if keep.all():
            continue
        if not keep.any():
            return
        part, rows = part.take(keep), rows[keep]
        z, z_before, gradient, z_best, gradient_best = (t[keep] for t in (z, z_before, gradient, z_best, gradient_best))
        best, last_loss, rate, rises = (t[keep] for t in (best, last_loss, rate, rises))
        halved, best_at_check = halved[keep], best_at_check[keep]


def _marked(steps: int) -> list[tuple[int, bool]]:
    """Steps from 1, each with whether it is a checkpoint."""
    marks = set(checkpoints(steps))
    return [(step, step in marks) for step in range(1, steps + 1)]
