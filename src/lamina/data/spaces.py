"""gymnasium's spaces as plain fields: what an environment shows, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.decode.actions import Actions
from lamina.errors import LaminaError
from lamina.modalities.observation import MASK, ObservationReader

KINDS = "Box, Discrete, MultiDiscrete, MultiBinary, or Dict and Tuple of these"
Bounds = tuple[tuple[float | None, ...], tuple[float | None, ...]]
"""Least and greatest of each number; None where there is none."""


SMALLEST = 36
"""Pixels that a picture is wide and high at least: what the convolutions need. Smaller ones are boards, of numbers."""


def is_picture(space: Any) -> bool:
    """Of 0 to 255 in bytes, (H, W), (H, W, C) or (C, H, W)."""
    from gymnasium import spaces

    if not isinstance(space, spaces.Box) or space.dtype != np.uint8 or len(space.shape) not in (2, 3):
        return False
    whole = bool((space.low == 0).all() and (space.high == 255).all())
    return whole and min(size for i, size in enumerate(space.shape) if i != channel_axis(space.shape)) >= SMALLEST


def channel_axis(shape: Sequence[int]) -> int | None:
    """Of a picture: the first where it is the smaller one, or the last; None where there is one channel, untold."""
    return None if len(shape) == 2 else 0 if shape[0] < shape[-1] else len(shape) - 1


def reader_of(space: Any, choices: int = 0) -> tuple[ObservationReader, Bounds]:
    """How observations of `space` are read, and their bounds. Raises LaminaError where it has parts that no tensor stands for."""
    from gymnasium import spaces

    if is_picture(space):
        return ObservationReader(tuple(space.shape), choices=choices), ((0.0,), (255.0,))
    parts: list[dict[str, Any]] = []
    low: list[float] = []
    high: list[float] = []
    names: list[str] = []
    for path, leaf in leaves(space):
        if path and path[-1] == MASK:
            continue
        if isinstance(leaf, spaces.Discrete):
            size, (least, most) = int(leaf.n), (0.0, 1.0)
            part: dict[str, Any] = {"size": size, "start": int(leaf.start)}
        elif isinstance(leaf, (spaces.Box, spaces.MultiBinary, spaces.MultiDiscrete)) and not is_picture(leaf):
            size, (least, most) = math.prod(leaf.shape), bounds_of(leaf)
            part = {"shape": list(leaf.shape)}
        else:
            where = f" at {'/'.join(map(str, path))}" if path else ""
            got = f"a picture{where}" if is_picture(leaf) else f"{type(leaf).__name__}{where}"
            raise LaminaError(f"data: expected an observation space of {KINDS}, or one picture; got {got}")
        low += np.broadcast_to(np.asarray(least, np.float64).reshape(-1), size).tolist()
        high += np.broadcast_to(np.asarray(most, np.float64).reshape(-1), size).tolist()
        stem = "/".join(map(str, path)) or ("state" if "size" in part else "observation")
        names += [f"{stem}[{i}]" for i in range(size)] if size > 1 else [stem]
        parts.append({"path": list(path), **part})
    if not names:
        raise LaminaError("data: expected an environment that shows something; its observation space is empty")
    reader = ObservationReader((len(names),), tuple(parts), tuple(names), choices)
    return reader, (finite(low), finite(high))


def bounds_of(leaf: Any) -> tuple[Any, Any]:
    from gymnasium import spaces

    if isinstance(leaf, spaces.Box):
        return leaf.low, leaf.high
    return 0.0, leaf.nvec - 1 if isinstance(leaf, spaces.MultiDiscrete) else 1.0


def finite(bounds: Sequence[float]) -> tuple[float | None, ...]:
    """None for what bounds nothing: infinity, or the greatest number of the type."""
    return tuple(None if abs(bound) > 1e30 else bound for bound in bounds)


def actions_of(space: Any, names: Sequence[str] = ()) -> Actions:
    """Raises LaminaError where the space is of another kind."""
    from gymnasium import spaces

    if isinstance(space, spaces.Discrete):
        return Actions("discrete", (int(space.n),), (int(space.start),), names=tuple(names))
    if isinstance(space, spaces.MultiDiscrete):
        sizes = tuple(int(n) for n in space.nvec.reshape(-1))
        start = np.broadcast_to(np.asarray(getattr(space, "start", 0)), space.nvec.shape).reshape(-1)
        return Actions("multi-discrete", sizes, tuple(int(s) for s in start), shape=tuple(space.nvec.shape))
    if isinstance(space, spaces.MultiBinary):
        count = math.prod(space.shape)
        return Actions("multi-discrete", (2,) * count, (0,) * count, shape=tuple(space.shape))
    if isinstance(space, spaces.Box):
        low, high = (finite(np.asarray(b, np.float64).reshape(-1).tolist()) for b in (space.low, space.high))
        return Actions("continuous", (math.prod(space.shape),), (), low, high, tuple(space.shape))
    kinds = "Discrete, MultiDiscrete, MultiBinary or Box"
    raise LaminaError(f"data: expected an action space of {kinds}; got {type(space).__name__}")


def leaves(space: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    """The spaces that a Dict or Tuple is made of, with their keys from the top, in its own order."""
    from gymnasium import spaces

    if isinstance(space, spaces.Dict):
        return [found for key, inner in space.spaces.items() for found in leaves(inner, (*path, key))]
    if isinstance(space, spaces.Tuple):
        return [found for key, inner in enumerate(space.spaces) for found in leaves(inner, (*path, key))]
    return [(path, space)]
