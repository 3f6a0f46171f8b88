"""The pictures that an environment shows, as a model takes them: gray or in color, resized, the last few together.

The field's conventions for Atari (Mnih et al. 2015, "Human-level control through deep reinforcement learning", Methods,
Preprocessing), less what is Atari's own: what does not flicker needs no brighter of two frames. A picture of other than 1 or 3
channels has been made ready by its author, and is shown as it is.

Shapes: C channels, H and W pixels, K frames together, S the side of what is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces, wrappers
from PIL import Image

from lamina.data.spaces import channel_axis

if TYPE_CHECKING:
    from lamina.data.world import Show


def framed(env: Any, show: Show) -> Any:
    """The environment, which shows uint8 (K * C, S, S), or (C, H, W) of what was ready."""
    if show.frame_skip and show.frame_skip > 1:
        env = wrappers.RepeatAction(env, show.frame_skip)
    shape = tuple(env.observation_space.shape)
    axis = channel_axis(shape)
    ready = axis is not None and shape[axis] not in (1, 3)
    channels = 3 if show.color and axis is not None and shape[axis] == 3 else 1
    sides = tuple(size for i, size in enumerate(shape) if i != axis) if ready else (show.side, show.side)
    one = (shape[axis] if ready and axis is not None else channels, *sides)
    made = (lambda pixels: pixels) if ready else resized(channels, show.side)

    def taken(seen: Any) -> np.ndarray:
        pixels = np.asarray(seen)
        if pixels.shape != shape or pixels.dtype != np.uint8:
            raise ValueError(f"expected a picture of shape {shape}, uint8; got {pixels.shape}, {pixels.dtype}")
        return made(pixels[None] if axis is None else np.moveaxis(pixels, axis, 0))

    env = wrappers.TransformObservation(env, taken, spaces.Box(0, 255, one, np.uint8))
    if ready:
        return env
    stacked = wrappers.FrameStackObservation(env, show.frame_stack)  # at first the same frame several times
    return wrappers.ReshapeObservation(stacked, (show.frame_stack * channels, *sides))


def resized(channels: int, side: int) -> Callable[[np.ndarray], np.ndarray]:
    """(1 or 3, H, W) -> (channels, side, side): the mean of the pixels that become one, as OpenCV's INTER_AREA; gray by the
    weights of ITU-R 601-2."""

    def made(pixels_CHW: np.ndarray) -> np.ndarray:
        array = pixels_CHW[0] if len(pixels_CHW) == 1 else pixels_CHW.transpose(1, 2, 0)
        picture = Image.fromarray(np.ascontiguousarray(array)).convert("L" if channels == 1 else "RGB")
        small = np.asarray(picture.resize((side, side), Image.Resampling.BOX))
        return small[None] if channels == 1 else small.transpose(2, 0, 1)

    return made
