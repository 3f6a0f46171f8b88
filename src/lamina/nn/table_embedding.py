"""Cells of a table as vectors: one embedding per column, of numbers and of category codes alike.

A number is embedded by its standardized value and by its place among quantiles of the training column, the piecewise
linear encoding of Gorishniy et al. 2022, "On Embeddings for Numerical Features in Tabular Deep Learning" (equation 1,
and the form "B" of Gorishniy et al. 2024, "TabM": a linear term plus a piecewise linear one that starts at zero).
The value is bent smoothly beyond a few scales (Holzmueller et al. 2024, "Better by Default", RealMLP), so that one
outlier cannot drown a row. What the training column never showed (an unknown category, a missing cell where none was
missing) adds nothing to the column's own bias.

B rows, C columns, N numeric columns, K categorical columns, T bins, D width of an embedding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

BEND = 4.0
"""The standardized value v becomes v / sqrt(1 + (v / BEND)^2): never beyond +-BEND."""


class TableEmbedding(nn.Module):
    """(B, C) raw cells -> (B, C, D). Numbers in raw units, categories as codes (0 is unknown), NaN where missing.

    `columns` says what each of the C columns is, in order:
    `{"kind": "number", "center": float, "scale": float, "edges": [float, ...], "missing": bool}` or
    `{"kind": "category", "count": int, "missing": bool}`, where `count` is the number of known categories, coded
    1..count, and `missing` says that training rows lack the cell. With `bins=False` the edges are left unused.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]], width: int, bins: bool = True) -> None:
        super().__init__()
        numbers = [i for i, c in enumerate(columns) if c["kind"] == "number"]
        categories = [i for i, c in enumerate(columns) if c["kind"] == "category"]
        gaps = [i for i, c in enumerate(columns) if c["missing"]]
        order = numbers + categories
        self.bias = nn.Parameter(torch.empty(len(columns), width))
        self.numbers, self.categories = len(numbers), len(categories)
        self.known = sum(int(columns[i]["count"]) for i in categories)
        self._buffer("order", [order.index(i) for i in range(len(columns))], torch.int64)
        self._buffer("number_index", numbers, torch.int64)
        self._buffer("category_index", categories, torch.int64)
        if numbers:
            self._buffer("center", [columns[i]["center"] for i in numbers])
            self._buffer("scale", [columns[i]["scale"] for i in numbers])
            self.value_weight = nn.Parameter(torch.empty(len(numbers), width))
        edges = [_standard_edges(columns[i]) if bins else [] for i in numbers]
        self.bins = max((len(e) - 1 for e in edges), default=0)
        if self.bins > 0:
            # A column with fewer bins is filled up with bins of zero slope, which add nothing and learn nothing.
            fill = [max(self.bins - max(len(e) - 1, 0), 0) for e in edges]
            self._buffer("left", [e[:-1] + [0.0] * n for e, n in zip(edges, fill, strict=True)])
            slopes = [[1 / (b - a) for a, b in itertools.pairwise(e)] for e in edges]
            self._buffer("slope", [s + [0.0] * n for s, n in zip(slopes, fill, strict=True)])
            self.bin_weight = nn.Parameter(torch.empty(len(numbers), self.bins, width))
        if self.known > 0:
            counts = [int(columns[i]["count"]) for i in categories]
            self._buffer("offset", [sum(counts[:k]) for k in range(len(counts))], torch.int64)
            self._buffer("count", counts, torch.int64)
            self.codes = nn.Parameter(torch.empty(self.known, width))
        if gaps:
            self._buffer("gap_index", gaps, torch.int64)
            self.missing = nn.Parameter(torch.empty(len(gaps), width))
        self.gaps = len(gaps)
        self.reset_parameters()

    def _buffer(self, name: str, values: Sequence[Any], dtype: torch.dtype = torch.float32) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=dtype))

    def reset_parameters(self) -> None:
        """Uniform within 1/sqrt(D), as in the feature tokenizer of Gorishniy et al. 2021; bins start at zero."""
        bound = 1 / math.sqrt(self.bias.shape[1])
        for name, parameter in self.named_parameters():
            if name == "bin_weight":
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x_BC: Tensor) -> Tensor:
        """(B, C) -> (B, C, D)."""
        gap_BC = torch.isnan(x_BC)
        parts: list[Tensor] = []
        if self.numbers:
            absent_BN = gap_BC.index_select(1, self.number_index)  # type: ignore[arg-type]
            parts.append(self._embed_numbers(x_BC.index_select(1, self.number_index), absent_BN))  # type: ignore[arg-type]
        if self.categories:
            parts.append(self._embed_codes(x_BC.index_select(1, self.category_index)))  # type: ignore[arg-type]
        cells_BCD = torch.cat(parts, dim=1).index_select(1, self.order) + self.bias  # type: ignore[arg-type]
        if self.gaps:
            gap_BG = gap_BC.index_select(1, self.gap_index).to(cells_BCD.dtype)  # type: ignore[arg-type]
            cells_BCD = cells_BCD.index_add(1, self.gap_index, gap_BG[..., None] * self.missing)  # type: ignore[arg-type]
        return cells_BCD

    def _embed_numbers(self, x_BN: Tensor, absent_BN: Tensor) -> Tensor:
        # NaN is replaced before any arithmetic: a NaN that is masked later would still poison the gradient.
        x_BN = torch.where(absent_BN, self.center, x_BN)  # type: ignore[arg-type]
        v_BN = ((x_BN - self.center) / self.scale).clamp(-1e6, 1e6)  # type: ignore[operator]
        present_BN1 = (~absent_BN).to(v_BN.dtype)[..., None]
        out_BND = bend(v_BN)[..., None] * self.value_weight
        if self.bins > 0:
            share_BNT = ((v_BN[..., None] - self.left) * self.slope).clamp(0, 1)  # type: ignore[operator]
            out_BND = out_BND + torch.einsum("bnt,ntd->bnd", share_BNT, self.bin_weight)
        return out_BND * present_BN1

    def _embed_codes(self, x_BK: Tensor) -> Tensor:
        if self.known == 0:
            return self.bias.new_zeros(*x_BK.shape, self.bias.shape[1])
        code_BK = torch.nan_to_num(x_BK, nan=0.0).round().long()
        known_BK = (code_BK >= 1) & (code_BK <= self.count)  # type: ignore[operator]
        row_BK = torch.where(known_BK, code_BK - 1 + self.offset, 0)  # type: ignore[operator]
        return nn.functional.embedding(row_BK, self.codes) * known_BK.to(self.codes.dtype)[..., None]


def bend(v: Tensor) -> Tensor:
    """v / sqrt(1 + (v / BEND)^2), any shape: the identity near zero, within +-BEND everywhere."""
    return v * torch.rsqrt(1 + (v / BEND).square())


def _standard_edges(column: Mapping[str, Any]) -> list[float]:
    """The edges of the bins in standardized units. In double precision here, since the model computes in single."""
    edges = [(float(e) - column["center"]) / column["scale"] for e in column["edges"]]
    kept: list[float] = []
    for edge in edges:
        if not kept or edge - kept[-1] > 1e-5:
            kept.append(edge)
    return kept if len(kept) > 1 else []
