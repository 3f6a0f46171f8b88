"""Keys and values of the tokens seen so far, so that a step computes those of one token only.

A state holds them as `keys` and `values` (B, L, G, C, E), of capacity C, and `inside` (B, S), which says which of the S tokens
seen may still be attended; S is a shape, so nothing asks the device how full the cache is. Every tensor leads with B: a
beam search reorders them with `index_select`.

Shapes: B rows, L layers, G key-value heads, T tokens, S tokens seen, C capacity, E features of a head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Keep = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Takes the new keys and values of one layer (B, G, T, E); gives all to attend to (B, G, S + T, E)."""

LEAST = 64
"""Tokens that a cache holds at least."""


class InPlace:
    """Writes new keys and values into the cache, from place `seen` on. The tensors it was given are changed."""

    def __init__(self, keys_BLGCE: Tensor, values_BLGCE: Tensor, seen: int):
        self.keys, self.values, self.seen = keys_BLGCE, values_BLGCE, seen

    def layer(self, number: int) -> Keep:
        def keep(k_BGTE: Tensor, v_BGTE: Tensor) -> tuple[Tensor, Tensor]:
            end = self.seen + k_BGTE.shape[2]
            self.keys[:, number, :, self.seen : end] = k_BGTE
            self.values[:, number, :, self.seen : end] = v_BGTE
            return self.keys[:, number, :, :end], self.values[:, number, :, :end]

        return keep

    def tensors(self) -> tuple[Tensor, Tensor]:
        return self.keys, self.values


class Appended:
    """Joins new keys and values to those given, if any, and leaves these as they are: what a graph can say."""

    def __init__(self, keys_BLGSE: Tensor | None = None, values_BLGSE: Tensor | None = None):
        self.before = None if keys_BLGSE is None or values_BLGSE is None else (keys_BLGSE, values_BLGSE)
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []

    def layer(self, number: int) -> Keep:
        def keep(k_BGTE: Tensor, v_BGTE: Tensor) -> tuple[Tensor, Tensor]:
            if self.before is not None:
                keys, values = self.before
                k_BGTE = torch.cat([keys[:, number], k_BGTE], 2)
                v_BGTE = torch.cat([values[:, number], v_BGTE], 2)
            self.keys.append(k_BGTE)
            self.values.append(v_BGTE)
            return k_BGTE, v_BGTE

        return keep

    def tensors(self) -> tuple[Tensor, Tensor]:
        return torch.stack(self.keys, 1), torch.stack(self.values, 1)


def with_room(cache_BLGCE: Tensor, seen: int) -> Tensor:
    """The cache itself where it has room for one token more than `seen`, else a copy of twice the capacity."""
    capacity = cache_BLGCE.shape[3]
    if seen < capacity:
        return cache_BLGCE
    return of_capacity(cache_BLGCE, max(2 * capacity, LEAST))


def of_capacity(cache_BLGCE: Tensor, capacity: int) -> Tensor:
    """A copy with room for `capacity` tokens."""
    wider = cache_BLGCE.new_zeros(*cache_BLGCE.shape[:3], capacity, cache_BLGCE.shape[4])
    wider[:, :, :, : cache_BLGCE.shape[3]] = cache_BLGCE
    return wider
