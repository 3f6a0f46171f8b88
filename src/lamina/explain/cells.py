"""Cells: the parts of an input that are ranked, hidden and shown together.

Pictures are cut into squares, eight a side: a scattering of single pixels is noise to any network, and a comparison with
random pixels would compare noise with shape. Sound is cut into 64 stretches; a cell of a table or a token is one by itself.

Shapes: B examples, M cells; `...` are the places of an input, as in `subject.by_place`.
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


def pooled(map_B: Tensor, cell: Tensor) -> Tensor:
    """The mean of a map (B, ...) over each cell: (B, M)."""
    count = int(cell.max()) + 1
    flat = cell.flatten().to(map_B.device)
    summed = map_B.new_zeros(len(map_B), count).index_add_(1, flat, map_B.flatten(1))
    return summed / torch.bincount(flat, minlength=count)


def ranks(values_BM: Tensor, generator: torch.Generator) -> Tensor:
    """The rank of each cell, 0 for the greatest value; equal values in random order."""
    shuffled_BM = torch.rand(values_BM.shape, generator=generator).argsort(1)
    order_BM = values_BM.gather(1, shuffled_BM).argsort(stable=True, dim=1, descending=True)
    return shuffled_BM.gather(1, order_BM).argsort(1)


def spread(cells_BM: Tensor, cell: Tensor, leaf: Tensor, modality: str) -> Tensor:
    """Values of cells (B, M) as values of places, shaped to broadcast against a leaf (B, ...)."""
    values = cells_BM[:, cell.to(cells_BM.device)]
    if modality == "image":
        return values[:, None]
    if leaf.dim() == 1:
        return values[:, 0]
    return values.reshape(*values.shape[:2], *[1] * (leaf.dim() - 2))
