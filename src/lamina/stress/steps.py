"""Attacks by gradient steps: FGSM and PGD; and what every attack gives back.

Shapes: B examples; a displacement z is as the leaf (B, ...).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lamina.stress.victim import Objective, Victim


@dataclass
class Found:
    """The best of an attack so far: a displacement that is answered wrongly, or else that of the greatest objective."""

    z: Tensor
    loss: Tensor
    fooled: Tensor

    @staticmethod
    def nothing(victim: Victim) -> Found:
        clean = victim.space.clean
        loss = torch.full((len(clean),), -torch.inf, device=clean.device)
        return Found(torch.zeros_like(clean), loss, torch.zeros(len(clean), dtype=torch.bool, device=clean.device))

    def see(self, rows: Tensor, z: Tensor, loss: Tensor, fooled: Tensor) -> None:
        """Take in the displacements z of the examples at `rows`."""
        before = self.fooled[rows]
        better = (fooled & ~before) | ((fooled == before) & (loss > self.loss[rows]))
        chosen = rows[better]
        self.z[chosen], self.loss[chosen], self.fooled[chosen] = z[better].detach(), loss[better], fooled[better]

    def left(self) -> Tensor:
        """The rows that are not fooled."""
        return (~self.fooled).nonzero()[:, 0]


def fgsm(victim: Victim, objective: Objective) -> Found:
    """One step as far as the ball reaches (Goodfellow, Shlens, Szegedy 2015, arXiv:1412.6572)."""
    found, space = Found.nothing(victim), victim.space
    z = torch.zeros_like(space.clean)
    _, _, gradient = victim.gradient(z, objective)
    z = space.project(space.eps * space.toward(gradient))
    found.see(torch.arange(len(z), device=z.device), z, *no_gradient(victim, z, objective))
    return found


def pgd(
    victim: Victim,
    objective: Objective,
    steps: int,
    restarts: int,
    generator: torch.Generator,
    step_size: float | None = None,
) -> Found:
    """Projected gradient ascent from random starts (Madry et al. 2018, arXiv:1706.06083).

    The step is 2.5 eps / steps unless given, so that it may reach the border and move along it (their section 5). An example is
    left alone as soon as it is answered wrongly.
    """
    found = Found.nothing(victim)
    size = step_size if step_size is not None else 2.5 * victim.space.eps / steps
    for _ in range(restarts):
        rows = found.left()
        if not len(rows):
            break
        part = victim.take(rows)
        z = part.space.start(generator)
        for _ in range(steps):
            loss, fooled, gradient = part.gradient(z, objective)
            found.see(rows, z, loss, fooled)
            if fooled.any():
                rows, z, gradient, part = rows[~fooled], z[~fooled], gradient[~fooled], part.take(~fooled)
            if not len(rows):
                break
            z = part.space.project(z + size * part.space.toward(gradient))
        if len(rows):
            found.see(rows, z, *no_gradient(part, z, objective))
    return found


@torch.no_grad()
def no_gradient(victim: Victim, z: Tensor, objective: Objective) -> tuple[Tensor, Tensor]:
    """The objective and whether each example is fooled."""
    return victim.judge(z, objective)
