"""Atari by its compiled vector: what is shown, the same game from the same seed, lives, and a film of the game that is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lamina.data import rollouts
from lamina.data.film import filmed, frames_of
from lamina.data.play import moments, played
from lamina.data.rollouts import Playing, Rollouts, batch_of
from lamina.data.world import Show, World
from lamina.data.worlds import Seen, worlds
from lamina.nn.distributions import distribution


@pytest.fixture(scope="module")
def pong() -> World:
    return World.of("ALE/Pong-v5", Show())


def by_chance(arrays: Any, rngs: list[np.random.Generator]) -> tuple[np.ndarray, None]:
    return np.array([int(rng.integers(6)) for rng in rngs]), None


def test_the_id_says_how_sticky_actions_are(pong: World) -> None:
    assert pong.show.sticky == 0.25 and pong.actions.names[2] == "RIGHT" and pong.actions.sizes == (6,)
    assert World.of("PongNoFrameskip-v4", Show()).show.sticky == 0.0
    assert World.of("ALE/Pong-v5", Show(sticky=0.1)).show.sticky == 0.1
    (spec,) = pong.inputs
    assert spec.dims == ("B", 4, 84, 84) and spec.dtype == "uint8" and spec.modality == "image"


def test_the_same_seed_is_the_same_game(pong: World) -> None:
    def game(seeds: list[int]) -> list[np.ndarray]:
        several, rng = worlds(pong, len(seeds)), np.random.default_rng(0)
        shown = [several.reset(seeds).observation]
        for _ in range(40):
            shown.append(several.step(np.full(len(seeds), int(rng.integers(6)))).observation.copy())
        several.close()
        return shown

    one, two, alone = game([5, 6]), game([5, 6]), game([6])
    for a, b, c in zip(one, two, alone, strict=True):
        assert a.shape == (2, 4, 84, 84) and a.dtype == np.uint8
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a[1], c[0])
    assert not np.array_equal(one[-1][0], one[-1][1])


def test_moments_of_pictures_are_the_same_each_time(pong: World) -> None:
    one, two = moments(pong, [1, 2], 0.9), moments(pong, [1, 2], 0.9)
    np.testing.assert_array_equal(one["observation"], two["observation"])
    assert np.asarray(one["observation"]).shape == (2, 4, 84, 84)


def test_the_film_is_of_the_game_that_is_judged(tmp_path: Path) -> None:
    world = World.of("ALE/Pong-v5", Show(time_limit=60))
    frames = frames_of(world, by_chance, 3, 1000)
    (episode,) = played(world, by_chance, [3])
    assert len(frames) == episode.steps + 1 and frames[0].shape == (210, 160, 3)
    assert filmed(world, by_chance, 3, tmp_path / "a.gif") and (tmp_path / "a.gif").read_bytes()[:4] == b"GIF8"


class Lives:
    """Two worlds: one loses a life at the third step and plays on, and its game ends at the fifth."""

    count = 2

    def reset(self, seeds: Any) -> Seen:
        self.steps = 0
        return self._seen([3, 3], [False, False])

    def step(self, action: np.ndarray) -> Seen:
        self.steps += 1
        lives = 3 if self.steps < 3 else 2
        return self._seen([lives, 3], [self.steps == 5, False])

    def _seen(self, lives: list[int], over: list[bool]) -> Seen:
        none = np.zeros(2, bool)
        return Seen(np.zeros((2, 1), np.float32), np.ones(2), np.array(over), none, none, None, np.array(lives))

    def state_dict(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("lives", [True, False])
def test_the_loss_of_a_life_is_an_end_where_that_is_asked(lives: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, np.ndarray] = {}

    def noted(reward: Any, value: Any, terminal: Any, cut: Any, *rest: Any) -> np.ndarray:
        seen.update(terminal=terminal, cut=cut)
        return np.zeros_like(reward)

    def even(x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return noise.argmax(1), noise.new_zeros(len(x)), noise.new_zeros(len(x))

    monkeypatch.setattr(rollouts, "generalized_advantages", noted)
    playing = Playing(6, 1, 0.9, 0.9, scale_rewards=False, clip_rewards=True, lives=lives)
    noise = distribution("discrete", [2]).noise
    stream: Any = Rollouts(even, noise, batch_of, None, Lives(), playing, 4, 0, ["observation"], torch.device("cpu"))  # type: ignore[arg-type]
    next(stream)
    expected = [False, False, lives, False, True, False]
    assert seen["terminal"][:, 0].tolist() == expected and not seen["terminal"][:, 1].any()
    assert seen["cut"][:, 0].tolist() == expected
