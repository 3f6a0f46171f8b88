"""An episode as a film: an animated picture that a page shows by itself.

Shapes: H and W pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamina.data.play import SEED, Policy, arrays_of, forgetful
from lamina.data.world import World, opened
from lamina.data.worlds import Atari, OneByOne, episode_seed
from lamina.errors import LaminaError
from lamina.task import Columns

MOST_FRAMES = 300
"""Of a film; of a longer episode every so-manieth step is shown."""
WIDTH = 320
"""Pixels that a frame is shown wide, at most."""


def first_filmed(world: World, policy: Policy, columns: Columns, folder: Path) -> dict[str, Path]:
    """The episode of the first example, by a title; nothing where it cannot be drawn."""
    path = folder / "episode.gif"
    if not len(columns[SEED]) or not filmed(world, policy, int(columns[SEED][0]), path):
        return {}
    return {"An episode, as it was played": path}


def filmed(world: World, policy: Policy, seed: int, path: Path, most_steps: int = 2000) -> bool:
    """Play the episode of a seed, and write what it looked like; False where the environment cannot be drawn.

    The same episode as the one that is judged: drawing changes nothing.
    """
    frames = frames_of(world, policy, seed, most_steps)
    if not frames:
        return False
    from PIL import Image

    every = -(-len(frames) // MOST_FRAMES)
    pictures = [Image.fromarray(frame) for frame in frames[::every]]
    wide, high = pictures[0].size
    if wide > WIDTH:
        pictures = [picture.resize((WIDTH, round(high * WIDTH / wide)), Image.Resampling.BILINEAR) for picture in pictures]
    palette = [picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64) for picture in pictures]
    still = 1000  # the last one stays for a second
    times = [40] * (len(palette) - 1) + [still]
    palette[0].save(path, save_all=True, append_images=palette[1:], duration=times, loop=0, optimize=True)
    return True


def frames_of(world: World, policy: Policy, seed: int, most_steps: int) -> list[np.ndarray]:
    """uint8 (H, W, 3) of each step; none where the environment cannot be drawn."""
    return atari_frames(world, policy, seed, most_steps) if world.game else drawn_frames(world, policy, seed, most_steps)


def atari_frames(world: World, policy: Policy, seed: int, most_steps: int) -> list[np.ndarray]:
    """The game twice, from the same seed and by the same actions: as the agent sees it, and in color."""
    seen_by, shown_by = Atari(world, 1), Atari(world, 1, color=True)
    rngs = [np.random.default_rng((seed, 1))]
    try:
        seen, shown = seen_by.reset([seed]), shown_by.reset([seed])
        frames, state = [shown.observation[0, -1]], forgetful(world, 1)
        for _ in range(most_steps):
            action, state = policy(arrays_of(seen, state), rngs)
            seen, shown = seen_by.step(action), shown_by.step(action)
            frames.append(shown.observation[0, -1].copy())
            if seen.terminated_N[0] or seen.truncated_N[0]:
                break
        return frames
    finally:
        seen_by.close()
        shown_by.close()


def drawn_frames(world: World, policy: Policy, seed: int, most_steps: int) -> list[np.ndarray]:
    """What the environment draws of itself (`render_mode="rgb_array"`)."""
    try:
        env = opened(world.environment, world.show, pictures=True)
    except LaminaError:
        return []
    several = OneByOne(world, 1)
    several.envs[0].close()
    several.envs[0] = env
    rngs, frames, state = [np.random.default_rng((seed, 1))], [], forgetful(world, 1)
    try:
        seen = several.reset([episode_seed(seed, 0)])
        for _ in range(most_steps):
            frame = env.render()
            if not isinstance(frame, np.ndarray) or frame.ndim != 3:
                return []
            frames.append(frame[..., :3].astype(np.uint8))
            action, state = policy(arrays_of(seen, state), rngs)
            seen = several.step(action)
            if seen.terminated_N[0] or seen.truncated_N[0]:
                break
        return frames
    except LaminaError:
        raise
    except Exception:  # what draws is another library's, often one that is missing: no film is no fault
        return []
    finally:
        several.close()
