"""Cells: the parts of an input that are ranked, hidden and shown together.

Pictures are cut into squares, eight a side: a scattering of single pixels is noise to any network, and a comparison with
random pixels would compare noise with shape. Sound is cut into 64 stretches; a cell of a table is one by itself. The cells of
a text are its words, so that every example has its own, as many as it has words; padding is in none (-1).

Shapes: B examples, M cells; `...` are the places of an input, as in `subject.by_place`. A map of cells is (B, ...), or (1, ...)
where all examples have the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

A_SIDE = 8
STRETCHES = 64


def cells_of(places: Sequence[int], modality: str) -> Tensor:
    """The number (...) of the cell that each place lies in, 0 to M - 1."""
    if modality == "image":
        side = max(1, -(-min(places) // A_SIDE))
        rows, columns = (torch.arange(n) // side for n in places)
        return rows[:, None] * (int(columns[-1]) + 1) + columns
    if modality == "audio":
        (count,) = places
        return torch.arange(count) // max(1, -(-count // STRETCHES))
    return torch.arange(int(torch.tensor(list(places)).prod())).reshape(*places)


def pooled(map_B: Tensor, cell_B: Tensor, total: bool = False) -> Tensor:
    """The mean of a map (B, ...) over each cell, or its total: (B, M). Cells that an example lacks get minus infinity."""
    cell = cell_B.flatten(1).to(map_B.device).expand(len(map_B), -1) + 1
    size = (len(map_B), count_of(cell_B) + 1)
    summed = map_B.new_zeros(size).scatter_add_(1, cell, map_B.flatten(1))
    held = map_B.new_zeros(size).scatter_add_(1, cell, torch.ones_like(map_B.flatten(1)))
    value = summed if total else summed / held.clamp(min=1)
    return torch.where(held > 0, value, -torch.inf)[:, 1:]


def count_of(cell_B: Tensor) -> int:
    """M: the greatest number of cells that an example has."""
    return max(1, int(cell_B.max()) + 1)


def counts(cell_B: Tensor) -> Tensor:
    """(B,) or (1,): how many cells each example has."""
    return cell_B.flatten(1).amax(1) + 1


def absent_last(values_BM: Tensor, cell_B: Tensor) -> Tensor:
    """The values, but minus infinity for the cells that an example lacks."""
    there = torch.arange(values_BM.shape[1]) < counts(cell_B).cpu()[:, None]
    return torch.where(there.to(values_BM.device), values_BM, -torch.inf)


def ranks(values_BM: Tensor, generator: torch.Generator) -> Tensor:
    """The rank of each cell, 0 for the greatest value; equal values in random order."""
    shuffled_BM = torch.rand(values_BM.shape, generator=generator).argsort(1)
    order_BM = values_BM.gather(1, shuffled_BM).argsort(stable=True, dim=1, descending=True)
    return shuffled_BM.gather(1, order_BM).argsort(1)


def by_cell(cells_BM: Tensor, cell_B: Tensor) -> Tensor:
    """Values of cells (B, M) as values of places (B, ...): nothing where a place is in no cell."""
    none = cells_BM.new_zeros(len(cells_BM), 1)
    cell = cell_B.flatten(1).to(cells_BM.device).expand(len(cells_BM), -1) + 1
    return torch.cat([none, cells_BM], 1).gather(1, cell).unflatten(1, cell_B.shape[1:])


def spread(cells_BM: Tensor, cell_B: Tensor, leaf: Tensor, modality: str) -> Tensor:
    """Values of cells (B, M) as values of places, shaped to broadcast against a leaf (B, ...)."""
    values = by_cell(cells_BM, cell_B)
    if modality == "image":
        return values[:, None]
    if leaf.dim() == 1:
        return values[:, 0]
    return values.reshape(*values.shape[:2], *[1] * (leaf.dim() - 2))
