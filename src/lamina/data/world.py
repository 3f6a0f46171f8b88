"""A world to act in: an environment of gymnasium, described in plain fields that a run remembers, and opened when it is needed.

An id (`CartPole-v1`, `ALE/Pong-v5`), or a class of one's own (`FILE.py:Class`, `module:Class`). Pictures are shown by the
conventions of the field: gray, 84 x 84, the last 4 together (`data/frames.py`); of Atari's (Machado et al. 2018, "Revisiting the
Arcade Learning Environment", section 5; Mnih et al. 2015) every 4th, the brighter of it and the one before.

Shapes: N worlds side by side.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lamina.data.source import Source, Stored
from lamina.data.spaces import actions_of, is_picture, reader_of
from lamina.decode.actions import Actions
from lamina.errors import LaminaError
from lamina.modalities.observation import MASK, STATE, ObservationReader
from lamina.task import Input

EXTRA = "reinforcement learning needs gymnasium: pip install 'lamina[agents]'"
EXTRA_ATARI = "Atari needs ale-py: pip install 'lamina[atari]'"
ALE_FRAMES = 108_000
"""Frames after which an Atari game is cut: 30 minutes (Machado et al. 2018)."""


NAMED: set[str] = set()
"""Environments with code of their own that a person has named since the program began: those that may run. A run cannot name
any, so that one of a stranger is safe to open."""


@dataclass(frozen=True)
class Show:
    """How a world is shown and driven, as a person chooses it. None: as the environment itself, or the field, has it."""

    sticky: float | None = None
    """How probable it is that Atari repeats the last action in place of the new one."""
    frame_skip: int | None = None
    """Frames that an action lasts, where pictures are shown."""
    frame_stack: int = 4
    """Frames that are seen at once, where pictures are shown."""
    side: int = 84
    """Of a picture, in pixels."""
    time_limit: int | None = None
    """Actions after which an episode is cut."""
    masks: bool = True
    """What the environment says is not possible is forbidden."""
    color: bool = False
    """Pictures keep their colors: three channels a frame."""


LATER: dict[str, dict[str, Any]] = {"reader": {"beside": False, "memory": 0}, "show": {"masks": True, "color": False}}
"""Settings that came after runs were made, and what they were when there was no choice."""


@dataclass(frozen=True)
class World:
    """An environment, and what it shows and takes."""

    environment: str
    reader: ObservationReader
    actions: Actions
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]
    show: Show
    game: str = ""
    """Atari's name of it; else empty."""

    @staticmethod
    def of(environment: str, show: Show) -> World:
        """Opens it once and looks. Raises LaminaError where there is none, or its spaces are of no known kind."""
        found = spec_of(environment)
        if found is not None and "ale_py" in str(found.entry_point):
            return atari(environment, found, show)
        env = opened(environment, show)
        try:
            space = env.observation_space
            if is_picture(space):
                show = dataclasses.replace(show, frame_skip=show.frame_skip or 1)
            actions = actions_of(env.action_space)
            where = where_masked(env, environment) if show.masks and actions.choices else ""
            reader, (low, high) = reader_of(space, actions.choices if where else 0)
            reader = dataclasses.replace(reader, beside=where == "info")
        finally:
            env.close()
        return World(environment, reader, actions, low, high, show)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """Of a model that acts in it: what is seen, what a policy that remembers has kept, and where actions may be forbidden,
        which are allowed."""
        picture = not self.reader.parts
        shape = self.reader.shape
        low = 0.0 if picture else tuple(float("-inf") if b is None else b for b in self.low)
        high = 255.0 if picture else tuple(float("inf") if b is None else b for b in self.high)
        kind = ("uint8", "image") if picture else ("float32", "observation")
        seen = Input("observation", ("B", *shape), *kind, low, high, self.reader.names)
        mask = Input(MASK, ("B", self.reader.choices), "uint8", "side", 0, 1)
        state = Input(STATE, ("B", self.reader.memory), "float32", "side")
        return (seen, *([state] if self.reader.memory else []), *([mask] if self.reader.choices else []))

    @property
    def pictures(self) -> bool:
        return not self.reader.parts

    def state(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def identity(self) -> dict[str, Any]:
        """`state`, as it was before some settings came: where they say nothing, they make no other world of it."""
        state = self.state()
        for part, fields in LATER.items():
            state[part] = {name: value for name, value in state[part].items() if name not in fields or value != fields[name]}
        state["show"]["frame_skip"] = self.show.frame_skip or 4
        return state

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> World:
        """The inverse of `state`, of JSON too."""
        reader, actions = dict(state["reader"]), dict(state["actions"])
        for fields in (reader, actions):
            fields |= {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        bounds = {name: tuple(state[name]) for name in ("low", "high")}
        return World(
            **{
                **state,
                **bounds,
                "reader": ObservationReader(**reader),
                "actions": Actions(**actions),
                "show": Show(**state["show"]),
            }
        )


def world_of(source: Source, show: Show, demo: str) -> World:
    """The world that a source names. Raises LaminaError as `World.of` does, and where a run names code that no person has."""
    environment = absolute(str(source.data or demo))
    if ":" in environment and not isinstance(source.data, Stored):
        NAMED.add(environment)
    return World.of(environment, show)


def absolute(environment: str) -> str:
    """A name that means the same from any folder: the path of a file made absolute."""
    place, colon, name = environment.rpartition(":")
    return f"{Path(place).resolve()}:{name}" if colon and place.endswith(".py") else environment


def gymnasium() -> Any:
    """The library. Raises LaminaError with how to get it."""
    try:
        return importlib.import_module("gymnasium")
    except ImportError as error:
        raise LaminaError(EXTRA) from error


def spec_of(environment: str) -> Any:
    """What gymnasium has registered under an id; None for a class of one's own. Raises LaminaError for an unknown id."""
    gym = gymnasium()
    if ":" in environment and environment not in NAMED:
        file, _, name = environment.rpartition(":")
        want = f"name it again with --data {Path(file).name if file.endswith('.py') else file}:{name}"
        raise LaminaError(f"data: {environment} is code, which a run never says by itself to run; {want}")
    if is_class(environment):
        return None
    if re.match(r"ALE/|.*NoFrameskip-v4$", environment):
        try:
            ale = importlib.import_module("ale_py")
        except ImportError as error:
            raise LaminaError(EXTRA_ATARI) from error
        ale.ALEInterface.setLoggerMode(ale.LoggerMode.Error)  # it greets everybody
        gym.register_envs(ale)
    try:
        return gym.spec(environment)
    except gym.error.Error as error:
        raise LaminaError(f"data: expected the id of an environment, or FILE.py:Class; {one_line(error)}") from error


def is_class(environment: str) -> bool:
    """Whether a name says where a class stands: `FILE.py:Class`, `package.module:Class`."""
    place, _, name = environment.rpartition(":")
    return bool(place) and name.isidentifier() and "/" not in name


def opened(environment: str, show: Show, pictures: bool = False) -> Any:
    """One environment, ready to be reset; `pictures`: it can be rendered. Raises LaminaError where it cannot be made."""
    env = made(environment, show, pictures)
    if is_picture(env.observation_space):
        from lamina.data.frames import framed

        env = framed(env, show)
    return env if show.time_limit is None else gymnasium().wrappers.TimeLimit(env, show.time_limit)


def made(environment: str, show: Show, pictures: bool) -> Any:
    """See `opened`; it shows what it shows by itself, and where there is to be another limit, has none."""
    gym = gymnasium()
    spec_of(environment)
    render = {"render_mode": "rgb_array"} if pictures else {}
    limit = {} if show.time_limit is None else {"max_episode_steps": -1}
    if not is_class(environment):
        try:
            return gym.make(environment, disable_env_checker=True, **render, **limit)
        except (gym.error.DependencyNotInstalled, ImportError) as error:
            raise LaminaError(f"data: {environment} cannot be opened: {one_line(error)}") from error
        except gym.error.Error as error:
            raise LaminaError(f"data: expected the id of an environment, or FILE.py:Class; {one_line(error)}") from error
    kind = class_of(environment)
    try:
        env = kind(**render)
    except Exception as error:  # whatever a class of the user's raises is told in one line
        raise LaminaError(f"data: {environment} could not be made: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(env, gym.Env):
        raise LaminaError(f"data: expected {environment} to be a gymnasium.Env; got {type(env).__mro__[-2].__name__}")
    return env


def where_masked(env: Any, environment: str) -> Literal["observation", "info", ""]:
    """Where an environment says which actions are possible: in its observations, or in the `info` of `reset`, as some of
    gymnasium's own do. Raises LaminaError where it cannot be reset."""
    inner = getattr(env.observation_space, "spaces", {})
    if isinstance(inner, Mapping) and MASK in inner:
        return "observation"
    try:
        _, info = env.reset(seed=0)
        return "" if info.get(MASK) is None else "info"
    except Exception as error:
        raise LaminaError(f"{environment}: reset with seed 0 raised {type(error).__name__}: {one_line(error)}") from error


def class_of(environment: str) -> Any:
    """The class that `FILE.py:Class` or `module:Class` names: this runs the file. Raises LaminaError where there is none."""
    place, _, name = environment.rpartition(":")
    try:
        if place.endswith(".py"):
            if not Path(place).is_file():
                raise LaminaError(f"data: expected a Python file before ':{name}'; {place} is none")
            spec = importlib.util.spec_from_file_location(Path(place).stem, place)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except LaminaError:
        raise
    except Exception as error:
        raise LaminaError(f"data: {place} could not be run: {type(error).__name__}: {one_line(error)}") from error
    found = getattr(module, name, None)
    if found is None:
        raise LaminaError(f"data: expected a class {name} in {place}; there is none")
    return found


def atari(environment: str, spec: Any, show: Show) -> World:
    """An Atari game, by its own vectorized emulator. Raises LaminaError where ids ask for what is never shown that way."""
    kwargs = dict(spec.kwargs)
    sticky = kwargs.get("repeat_action_probability", 0.25) if show.sticky is None else show.sticky
    show = dataclasses.replace(show, sticky=sticky, frame_skip=show.frame_skip or 4)
    if kwargs.get("obs_type", "rgb") == "ram":
        raise LaminaError(f"data: {environment}: expected an Atari game that shows pictures; got its memory")
    from ale_py.env import AtariEnv

    env = AtariEnv(kwargs["game"])
    meanings = env.get_action_meanings()
    actions = dataclasses.replace(actions_of(env.action_space), names=tuple(meanings))
    env.close()
    reader = ObservationReader((show.frame_stack * (3 if show.color else 1), show.side, show.side))
    return World(environment, reader, actions, (0.0,), (255.0,), show, kwargs["game"])


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
