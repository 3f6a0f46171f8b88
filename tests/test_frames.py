"""Pictures of environments that are not Atari: gray, resized, together, channels first; of whatever shape they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from lamina.data.film import frames_of
from lamina.data.play import played
from lamina.data.source import Source
from lamina.data.spaces import channel_axis, is_picture, reader_of
from lamina.data.world import Show, World, world_of
from lamina.data.worlds import OneByOne
from lamina.errors import LaminaError

PICTURES = '''
import gymnasium
import numpy as np
from gymnasium import spaces


class Colored(gymnasium.Env):
    """Every frame is of one color, brighter by 20 at each step; the reward is the step's number. Ends after 7."""

    shape, axis = (50, 37, 3), -1
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.observation_space = spaces.Box(0, 255, self.shape, np.uint8)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._picture(), {}

    def _picture(self):
        return np.full(self.shape, 20 * self.steps, np.uint8)

    def step(self, action):
        self.steps += 1
        return self._picture(), float(self.steps), self.steps >= 7, False, {}

    def render(self):
        return np.full((20, 30, 3), self.steps, np.uint8)


class Gray(Colored):
    shape = (90, 120)


class First(Colored):
    shape = (3, 60, 60)


class Ready(Colored):
    shape = (40, 44, 5)

    def _picture(self):
        return np.broadcast_to(np.arange(5, dtype=np.uint8), self.shape)


class Halves(Colored):
    """Red at the left, blue at the right."""

    shape = (60, 60, 3)

    def _picture(self):
        picture = np.zeros(self.shape, np.uint8)
        picture[:, :30, 0], picture[:, 30:, 2] = 255, 255
        return picture


class Shrinking(Colored):
    def step(self, action):
        seen, *rest = super().step(action)
        return seen[: 50 - self.steps // 3], *rest


class Inside(Colored):
    def __init__(self, render_mode=None):
        self.observation_space = spaces.Dict({"speed": spaces.Box(0, 1), "camera": spaces.Box(0, 255, (64, 64, 3), np.uint8)})
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "pictures.py"
    path.write_text(PICTURES)
    return path


def named(file: Path, name: str, show: Show | None = None) -> World:
    return world_of(Source(data=f"{file}:{name}"), show or Show(), "CartPole-v1")


@pytest.mark.parametrize("name", ["Colored", "Gray", "First"])
def test_pictures_of_any_shape_are_shown_gray_and_together(file: Path, name: str) -> None:
    world = named(file, name)
    (spec,) = world.inputs
    assert spec.dims == ("B", 4, 84, 84) and spec.dtype == "uint8" and spec.modality == "image"
    assert World.from_state(world.state()) == world and world.show.frame_skip == 1
    several = OneByOne(world, 2)
    frames = [several.reset([1, 2]).observation] + [several.step(np.zeros(2, int)).observation for _ in range(5)]
    assert all(frame.shape == (2, 4, 84, 84) and frame.dtype == np.uint8 for frame in frames)
    assert [frame[0, :, 5, 7].tolist() for frame in frames[:3]] == [[0, 0, 0, 0], [0, 0, 0, 20], [0, 0, 20, 40]]
    assert frames[5][1, :, 83, 83].tolist() == [40, 60, 80, 100]
    assert frames[1][0, 3].std() == 0  # what was shown before is not written over


def test_colors_are_kept_where_they_are_wanted_in_the_order_of_the_frames(file: Path) -> None:
    world = named(file, "Halves", Show(color=True, frame_stack=2))
    seen = OneByOne(world, 1).reset([1]).observation[0]
    assert seen.shape == (6, 84, 84)
    for place, (left, right) in enumerate([(255, 0), (0, 0), (0, 255)] * 2):
        assert (seen[place, :, :42] == left).all() and (seen[place, :, 42:] == right).all()
    gray = OneByOne(named(file, "Halves", Show()), 1).reset([1]).observation[0]
    assert (gray[:, :, :42] == 76).all() and (gray[:, :, 42:] == 29).all()  # 255 * 0.299 and 255 * 0.114
    assert OneByOne(named(file, "Gray", Show(color=True)), 1).reset([1]).observation.shape == (1, 4, 84, 84)


def test_an_action_lasts_as_many_frames_as_are_asked_for(file: Path) -> None:
    several = OneByOne(named(file, "Colored", Show(frame_skip=3)), 1)
    several.reset([1])
    first, second, third = (several.step(np.zeros(1, int)) for _ in range(3))
    assert [seen.reward_N[0] for seen in (first, second, third)] == [1 + 2 + 3, 4 + 5 + 6, 7]
    assert third.terminated_N[0] and third.observation[0, :, 0, 0].tolist() == [0, 60, 120, 140]


def test_a_limit_counts_actions_not_frames(file: Path) -> None:
    world = named(file, "Colored", Show(frame_skip=2, time_limit=2))
    (episode,) = played(world, lambda arrays, rngs: (np.zeros(1, int), None), [1])
    assert (episode.steps, episode.gained) == (2, 1 + 2 + 3 + 4)


def test_a_picture_that_is_ready_is_shown_as_it_is(file: Path) -> None:
    seen = OneByOne(named(file, "Ready"), 1).reset([1]).observation
    assert seen.shape == (1, 5, 40, 44) and seen[0, :, 3, 3].tolist() == [0, 1, 2, 3, 4]


def test_a_picture_of_another_shape_than_its_space_is_named_with_its_step(file: Path) -> None:
    several = OneByOne(named(file, "Shrinking"), 1)
    several.reset([7])
    with pytest.raises(LaminaError, match=r"step 3 of an episode with seed 7: .*shape \(50, 37, 3\), uint8; got \(49, 37, 3\)"):
        for _ in range(4):
            several.step(np.array([0]))


def test_a_picture_among_numbers_is_told(file: Path) -> None:
    with pytest.raises(LaminaError, match="or one picture; got a picture at camera"):
        named(file, "Inside")


def test_what_is_no_picture_is_numbers() -> None:
    assert [channel_axis(shape) for shape in ((9, 9), (3, 9, 9), (9, 9, 3), (9, 9, 9))] == [None, 0, 2, 2]
    for low, high, shape, dtype in (
        (0, 255, (7, 7, 3), np.uint8),  # a board
        (0, 255, (35, 90, 3), np.uint8),
        (0, 1, (84, 84), np.uint8),
        (0, 255, (84, 84), np.float32),
        (0, 255, (4, 84, 84, 3), np.uint8),
        (0, 255, (84,), np.uint8),
    ):
        assert not is_picture(spaces.Box(low, high, shape, dtype))
    reader, (least, most) = reader_of(spaces.Box(0, 255, (2, 3), np.uint8))
    assert reader.shape == (6,) and least == (0,) * 6 and most == (255,) * 6
    np.testing.assert_array_equal(reader.array(np.arange(6, dtype=np.uint8).reshape(2, 3)), np.arange(6))


def test_the_film_shows_the_environment_not_what_the_agent_sees(file: Path) -> None:
    frames = frames_of(named(file, "Colored"), lambda arrays, rngs: (np.zeros(1, int), None), 1, 100)
    assert [int(frame[0, 0, 0]) for frame in frames] == list(range(7)) and frames[0].shape == (20, 30, 3)


@pytest.mark.parametrize("task", ["ppo", "dqn"])
def test_agents_learn_from_pictures_of_ones_own(task: str, file: Path, tmp_path: Path) -> None:
    import lamina

    run = lamina.train(
        task, f"{file}:Colored", out=str(tmp_path / "run"), timesteps=64, envs=2, episodes=2, channels=4, quiet=True, threads=1,
        tensorboard=False, device="cpu", evaluations=1, **({"rollout": 16} if task == "ppo" else {"warm_up": 32, "replay": 200}),
    )  # fmt: skip
    assert run.info["metrics"]["return"]["value"] == 28
    (answer,) = run.predict([np.zeros((4, 84, 84), np.uint8)])
    assert answer["action"] in (0, 1)
