"""Attacks that only ask questions: Square for pictures, and its analogue for anything else. They use no gradient.

Source: Andriushchenko, Croce, Flammarion, Hein 2020, "Square Attack: a query-efficient black-box adversarial attack via
random search" (arXiv:1912.00049), algorithms 1 to 3, with the windows and the schedule of the authors' code. Where the
leaf is no picture, a share of its values takes the place of a square.

Shapes: B examples, C channels, H rows, W columns; a displacement z is as the leaf (B, ...).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lamina.stress.space import Space, lengths
from lamina.stress.steps import Found, no_gradient
from lamina.stress.victim import Objective, Victim

FIRST_SHARE = 0.8
"""The share of the values that the first proposals change."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""The queries, of 10,000, after which the share is halved."""

ROUNDING = 1e-5
"""Of eps: what differs by less has not been changed."""


def share_at(query: int, queries: int) -> float:
    """The share of the values that a proposal changes."""
    return FIRST_SHARE / 2 ** sum(query * 10_000 / queries > mark for mark in HALVINGS)


def search(victim: Victim, objective: Objective, queries: int, generator: torch.Generator) -> Found:
    """Random search: a proposal is kept where it raises the objective or is answered wrongly. `queries` questions an example."""
    picture = victim.space.clean.dim() == 4 and min(victim.space.clean.shape[2:]) >= 2
    if not picture:
        first, propose = some_first, some
    elif victim.space.norm == "linf":
        first, propose = stripes, square_linf
    else:
        first, propose = tiles, square_l2
    return _searched(victim, objective, queries, generator, first, propose)


def _searched(
    victim: Victim,
    objective: Objective,
    queries: int,
    generator: torch.Generator,
    first: Callable[[Space, torch.Generator], Tensor],
    propose: Callable[[Space, Tensor, float, torch.Generator], Tensor],
) -> Found:
    found, part = Found.nothing(victim), victim
    rows = torch.arange(len(victim), device=victim.space.clean.device)
    z = part.space.project(first(part.space, generator))
    loss, fooled = no_gradient(part, z, objective)
    found.see(rows, z, loss, fooled)
    for query in range(queries - 1):
        if fooled.any():
            rows, z, loss, part = rows[~fooled], z[~fooled], loss[~fooled], part.take(~fooled)
        if not len(rows):
            break
        proposed = part.space.project(propose(part.space, z, share_at(query, queries), generator))
        new_loss, fooled = no_gradient(part, proposed, objective)
        found.see(rows, proposed, new_loss, fooled)
        better = (new_loss > loss) | fooled
        z = torch.where(better.view(-1, *[1] * (z.dim() - 1)), proposed, z)
        loss = torch.where(better, new_loss, loss)
    return found


def signs(generator: torch.Generator, like: Tensor, *shape: int) -> Tensor:
    """-1 or 1, at random."""
    return (torch.randint(2, shape, generator=generator, device=generator.device) * 2 - 1).to(like)


def place(generator: torch.Generator, height: int, width: int, side: int) -> tuple[slice, slice]:
    """A square of `side` at a random place; as in the authors' code, never the last one of a row or column."""
    top = int(torch.randint(max(height - side, 1), (1,), generator=generator, device=generator.device))
    left = int(torch.randint(max(width - side, 1), (1,), generator=generator, device=generator.device))
    return slice(top, top + side), slice(left, left + side)


def stripes(space: Space, generator: torch.Generator) -> Tensor:
    """Vertical stripes of plus and minus eps, each channel its own."""
    count, channels, _, width = space.clean.shape
    return (space.eps * signs(generator, space.clean, count, channels, 1, width)).expand_as(space.clean)


def square_linf(space: Space, z: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """One square set to plus or minus eps in every channel. Where that would change nothing, the question were wasted (the
    authors' code draws again): there one channel is turned over."""
    count, channels, height, width = z.shape
    side = min(max(round(math.sqrt(share * height * width)), 1), height, width)
    rows, columns = place(generator, height, width, side)
    sign_BC11 = signs(generator, z, count, channels, 1, 1)
    proposed = z.clone()
    proposed[:, :, rows, columns] = space.eps * sign_BC11
    same_B = (space.project(proposed) - z).abs().flatten(1).amax(1) <= ROUNDING * space.eps
    turned_B = torch.randint(channels, (count,), generator=generator, device=generator.device).to(z.device)
    sign_BC11[same_B, turned_B[same_B]] *= -1
    proposed[:, :, rows, columns] = space.eps * sign_BC11
    return proposed


def tiles(space: Space, generator: torch.Generator) -> Tensor:
    """Five by five tiles of two bumps each, on the border of the ball."""
    count, channels, height, width = space.clean.shape
    side = max(min(height, width) // 5, 1)
    z = torch.zeros_like(space.clean)
    for top in range((height - side * (height // side)) // 2, height - side + 1, side):
        for left in range((width - side * (width // side)) // 2, width - side + 1, side):
            z[:, :, top : top + side, left : left + side] += bumps(side, generator, z) * signs(
                generator, z, count, channels, 1, 1
            )
    return space.eps * z / lengths(z).clamp(min=1e-12)


def square_l2(space: Space, z: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A new pair of bumps in one window, paid for by what another window held: the length stays eps."""
    count, channels, height, width = z.shape
    side = max(round(math.sqrt(share * height * width)), 3)
    side = min(side + (side % 2 == 0), height, width)
    here, there = place(generator, height, width, side), place(generator, height, width, side)
    both = torch.zeros(height, width, dtype=torch.bool, device=z.device)
    both[here], both[there] = True, True
    held = torch.where(both, z, 0).square().sum((2, 3), keepdim=True)
    spare = (space.eps**2 - lengths(z).square()).clamp(min=0) / channels
    old = z[:, :, here[0], here[1]]
    new = bumps(side, generator, z) * signs(generator, z, count, channels, 1, 1)
    new = new + old / (old.square().sum((2, 3), keepdim=True).sqrt() + 1e-12)
    new = new / (new.square().sum((2, 3), keepdim=True).sqrt() + 1e-12) * (spare + held).sqrt()
    proposed = z.clone()
    proposed[:, :, there[0], there[1]] = 0
    proposed[:, :, here[0], here[1]] = new
    return space.eps * proposed / lengths(proposed).clamp(min=1e-12)


def bumps(side: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """A hill in one half of a window and a hollow in the other, of length one; turned by chance."""
    if side < 2:
        return torch.ones(side, side, device=like.device, dtype=like.dtype)
    half = side // 2
    window = torch.cat([hill(half, side), -hill(side - half, side)]).to(like)
    window = window / window.norm()
    return window.T if int(torch.randint(2, (1,), generator=generator, device=generator.device)) else window


def hill(height: int, width: int) -> Tensor:
    """Nested rectangles that add 1 / n^2 each, the n-th from the middle (equation 2 of the paper), of length one."""
    made = torch.zeros(height, width)
    top, left = height // 2, width // 2
    for n in range(max(height // 2, width // 2) + 1):
        rows = slice(max(top - n, 0), min(top + n + 1, height))
        columns = slice(max(left - n, 0), min(left + n + 1, width))
        made[rows, columns] += 1.0 / (n + 1) ** 2
    return made / made.norm()


def some_first(space: Space, generator: torch.Generator) -> Tensor:
    """A random corner of the cube, or a random point of the sphere."""
    if space.norm == "linf":
        return space.eps * signs(generator, space.clean, *space.clean.shape)
    return space.eps * space.toward(torch.randn(space.clean.shape, generator=generator).to(space.clean))


def some(space: Space, z: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """A share of the values, at least one, drawn anew."""
    order = torch.rand(z.shape, generator=generator, device=generator.device).to(z)
    order = torch.where(space.unit == 0, 2, order).reshape(len(z), -1)  # fixed cells come last
    count = max(1, round(share * order.shape[1]))
    limit = order.kthvalue(count, dim=1, keepdim=True).values
    chosen = (order <= limit).view(z.shape)
    if space.norm == "linf":
        return torch.where(chosen, space.eps * signs(generator, z, *z.shape), z)
    drawn = space.eps * torch.randn(z.shape, generator=generator).to(z) / math.sqrt(order.shape[1])
    moved = torch.where(chosen & (space.unit != 0), drawn, z)
    return space.eps * moved / lengths(moved).clamp(min=1e-12)
