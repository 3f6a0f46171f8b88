"""Where an attack may go: a ball around each example, within the declared range, cell by cell.

An attack moves a displacement z, and the attacked leaf is x = clean + unit * z. The unit is 1 in the raw units of a
picture and the spread of its column in a table, so one radius means the same in every column. Cells that must stay
(categories, missing values, constant columns) may move by nothing.

Shapes: B examples; everything else is as the leaf (B, ...).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

Norm = Literal["linf", "l2"]


@dataclass(frozen=True)
class Space:
    """The ball of radius `eps` in `norm` around zero, cut by `low` <= z <= high."""

    clean: Tensor
    unit: Tensor
    """Broadcasts against `clean`; 0 where a cell is fixed."""
    least: Tensor | None
    most: Tensor | None
    """The range of the leaf in raw units, broadcasting against `clean`; None where unbounded."""
    norm: Norm
    eps: float

    @staticmethod
    def around(
        clean: Tensor, unit: Tensor | float, low: Tensor | None, high: Tensor | None, norm: Norm, eps: float
    ) -> Space:
        """A clean value that lies outside the range (a test row beyond all training rows) may move back, and no further out."""
        unit = torch.as_tensor(unit, dtype=clean.dtype, device=clean.device).expand_as(clean)
        missing = clean.isnan()
        unit = torch.where(missing, 0, unit)
        least = None if low is None else torch.minimum(low.expand_as(clean), torch.where(missing, torch.inf, clean))
        most = None if high is None else torch.maximum(high.expand_as(clean), torch.where(missing, -torch.inf, clean))
        return Space(clean, unit, least, most, norm, eps)

    def take(self, rows: Tensor) -> Space:
        """The space of the examples at `rows`, or where a mask is true."""
        bounds = {name: None if value is None else value[rows] for name, value in (("least", self.least), ("most", self.most))}
        return replace(self, clean=self.clean[rows], unit=self.unit[rows], **bounds)

    def at(self, z: Tensor) -> Tensor:
        """The leaf at displacement z. It never leaves the range by a rounding error, and its gradient passes through."""
        x = torch.where(self.unit == 0, self.clean, self.clean + self.unit * z)
        with torch.no_grad():
            inside = self._within_range(x)
        return inside if not x.requires_grad else x + (inside - x.detach()).nan_to_num(0.0)

    def project(self, z: Tensor) -> Tensor:
        """The nearest displacement within the ball, then within the range; both bounds hold, since clean is in the range."""
        if self.norm == "linf":
            z = z.clamp(-self.eps, self.eps)
        else:
            z = z * (self.eps / lengths(z).clamp(min=self.eps))
        x = self._within_range(self.clean + self.unit * z)
        return torch.where(self.unit == 0, 0, (x - self.clean) / torch.where(self.unit == 0, 1, self.unit))

    def _within_range(self, x: Tensor) -> Tensor:
        x = x if self.least is None else torch.where(x < self.least, self.least, x)
        return x if self.most is None else torch.where(x > self.most, self.most, x)

    def start(self, generator: torch.Generator) -> Tensor:
        """A random displacement, even over the cube, or over the ball."""
        if self.norm == "linf":
            drawn = torch.rand(self.clean.shape, generator=generator, device=generator.device)
            return self.project((2 * drawn - 1).to(self.clean) * self.eps)
        drawn = torch.randn(self.clean.shape, generator=generator, device=generator.device).to(self.clean)
        free = (self.unit != 0).flatten(1).sum(1) if self.unit.dim() > 1 else (self.unit != 0).long()
        share = torch.rand(len(drawn), generator=generator, device=generator.device).to(drawn)
        radius = like(share ** (1 / free.clamp(min=1)), drawn) * self.eps
        return self.project(self.toward(drawn) * radius)

    def toward(self, g: Tensor) -> Tensor:
        """The steepest unit step along a gradient in z: its signs, or itself over its length. Fixed cells have none."""
        g = torch.where(self.unit == 0, 0, g)
        return g.sign() if self.norm == "linf" else g / lengths(g).clamp(min=1e-12)

    def size(self, z: Tensor) -> Tensor:
        """The size (B,) of displacements in the norm."""
        return z.abs().reshape(len(z), -1).amax(1) if self.norm == "linf" else z.reshape(len(z), -1).norm(dim=1)


def lengths(z: Tensor) -> Tensor:
    """Euclidean length of each example, shaped to broadcast against z."""
    return like(z.reshape(len(z), -1).norm(dim=1), z)


def like(value_B: Tensor, z: Tensor) -> Tensor:
    """(B,) as (B, 1, ...), to broadcast against z (B, ...)."""
    return value_B.view(-1, *[1] * (z.dim() - 1))
