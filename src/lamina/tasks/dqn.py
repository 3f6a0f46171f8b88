"""Deep Q-learning: Mnih et al. 2015, "Human-level control through deep reinforcement learning".

An agent learns what each action is worth, from all that it has lived through. Beside the original, each by a flag: double
(van Hasselt et al. 2016), dueling (Wang et al. 2016), n steps (Sutton 1988), prioritized (Schaul et al. 2016), noisy (Fortunato
et al. 2018), and distributions of worth, categorical (Bellemare et al. 2017) or quantiles (Dabney et al. 2018); together they are
Rainbow (Hessel et al. 2018).

Shapes: B examples, K actions, Z atoms.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from typing_extensions import Doc

from lamina.errors import LaminaError
from lamina.task import Arrays, Asking, Batch, Columns, Forward, Input, Mode, Output, Serving, Stream, Task, learned

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor, nn

    from lamina.data.play import Policy
    from lamina.data.source import Data, Source
    from lamina.data.world import World
    from lamina.train.recipe import Recipe


@dataclass(frozen=True)
class DQN(Task):
    """What is observed in, the worth of each action out: learned by playing."""

    timesteps: Annotated[int | None, Doc("steps played in all worlds together (default: 100,000; of pictures, 1 million)")] = None
    envs: Annotated[int, Doc("worlds played side by side")] = 8
    workers: Annotated[int, Doc("processes that step the worlds, for slow ones; 0: this one does; not of Atari")] = 0
    replay: Annotated[int, Doc("steps that are remembered")] = 100_000
    warm_up: Annotated[int, Doc("steps of random play before anything is learned")] = 1_000
    steps_per_update: Annotated[float, Doc("steps played for each batch that is learned from")] = 2.0
    epsilon: Annotated[float, Doc("share of random actions in the end")] = 0.04
    exploring: Annotated[float, Doc("share of the training over which random actions become fewer")] = 0.2
    lasting: Annotated[float, Doc("exponent of how long a random action lasts, in steps (zeta), 2 is common; 0: one step")] = 0.0
    gamma: Annotated[float, Doc("discount of a reward one step later")] = 0.99
    n_steps: Annotated[int, Doc("rewards that are added up before worth is foreseen")] = 1
    target_every: Annotated[int, Doc("batches after which the network that foresees is renewed")] = 250
    double: Annotated[bool, Doc("one network says which action is best, the other what it is worth")] = True
    dueling: Annotated[bool, Doc("the worth of where one stands, apart from that of each action")] = False
    noisy: Annotated[bool, Doc("explore by noise on the weights, in place of random actions")] = False
    priority: Annotated[float, Doc("draw steps by their error to this power; 0: evenly, 0.6 is common")] = 0.0
    distribution: Annotated[Literal["none", "categorical", "quantile"], Doc("learn how worth is spread, not its mean alone")] = (
        "none"
    )
    atoms: Annotated[int, Doc("numbers that stand for a distribution")] = 51
    least: Annotated[float, Doc("least worth that a categorical distribution knows")] = -10.0
    most: Annotated[float, Doc("greatest worth that a categorical distribution knows")] = 10.0
    clip_rewards: Annotated[bool | None, Doc("learn from the sign of rewards (default: of Atari)")] = None
    lives: Annotated[bool | None, Doc("learn that the loss of a life is an end (default: of Atari)")] = None
    scale_observations: Annotated[bool, Doc("numbers whose bounds are known are brought to -1 to 1")] = True
    width: Annotated[int, Doc("units of a hidden layer, where numbers are observed")] = 128
    depth: Annotated[int, Doc("hidden layers, where numbers are observed")] = 2
    channels: Annotated[
        int, Doc("of the first convolution, where pictures are observed; 32 is the network of Mnih et al. 2015")
    ] = 32
    sticky: Annotated[float | None, Doc("probability that Atari repeats the last action (default: as the id says)")] = None
    frame_skip: Annotated[int | None, Doc("frames that an action lasts, of pictures (default: 4 of Atari, else 1)")] = None
    frame_stack: Annotated[int, Doc("frames that are seen at once, of pictures")] = 4
    color: Annotated[bool, Doc("pictures keep their colors")] = False
    time_limit: Annotated[int | None, Doc("steps after which an episode is cut (default: as the environment has it)")] = None
    masks: Annotated[bool, Doc("forbid what the environment says is not possible (action_mask)")] = True
    episodes: Annotated[int, Doc("episodes played for the test; a tenth of it at each evaluation")] = 100

    world: Mapping[str, Any] = learned(None)
    """The state of a World."""

    name: ClassVar[str] = "dqn"
    about: ClassVar[str] = "what is observed -> what each action is worth, learned by playing"
    acts: ClassVar[bool] = True
    steady: ClassVar[bool] = True
    formats: ClassVar[tuple[str, ...]] = ("a gymnasium id", "an Atari game (ALE/Pong-v5)", "FILE.py:Class", "module:Class")

    @property
    def headline(self) -> tuple[str, Literal["max", "min"]]:
        return "return", "max"

    @property
    def exact(self) -> bool:
        """Small networks gain nothing from bfloat16, and would lose."""
        return not self.known.pictures

    @property
    def known(self) -> World:
        """The world, as `prepare` saw it."""
        from lamina.data.world import World

        return World.from_state(self.world)

    @property
    def inputs(self) -> tuple[Input, ...]:
        return self.known.inputs

    @property
    def asks(self) -> tuple[str, ...]:
        return self.known.reader.asks

    @property
    def labels(self) -> tuple[str, ...]:
        return ("action", "worth", "weight")

    def read(self, source: Source) -> Data:
        """Moments of random play. The demo is CartPole: a pole to be kept upright. Raises LaminaError where actions are no
        choice of one."""
        from lamina.data.play import random_play
        from lamina.data.world import Show, world_of

        self.check_settings()
        show = Show(self.sticky, self.frame_skip, self.frame_stack, 84, self.time_limit, self.masks, self.color)
        world = world_of(source, show, demo="CartPole-v1")
        if world.actions.kind != "discrete":
            raise LaminaError(
                f"data: expected actions that are one of n; {world.environment} takes {world.actions.kind} ones: try ppo"
            )
        return random_play(world, source, self.episodes, self.gamma)

    def prepare(self, data: Data) -> DQN:
        return dataclasses.replace(self, world=dict(data.about["world"]))

    def check_settings(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        from lamina.train.options import expect

        counts = (
            "timesteps",
            "envs",
            "replay",
            "n_steps",
            "target_every",
            "width",
            "channels",
            "frame_skip",
            "frame_stack",
            "time_limit",
            "episodes",
        )
        for flag in counts:
            value = getattr(self, flag)
            expect(flag.replace("_", "-"), value, value is None or value >= 1, "1 or more")
        for flag in ("gamma", "epsilon", "exploring"):
            expect(flag, getattr(self, flag), 0 <= getattr(self, flag) <= 1, "a number from 0 to 1")
        expect("steps-per-update", self.steps_per_update, self.steps_per_update > 0, "a number above 0")
        expect("lasting", self.lasting, self.lasting == 0 or 1 < self.lasting < 100, "0, or a number above 1")
        expect("priority", self.priority, self.priority >= 0, "0 or more")
        expect("atoms", self.atoms, self.atoms >= 2, "2 or more")
        expect("most", self.most, self.most > self.least, f"more than the least, {self.least}")
        expect("workers", self.workers, self.workers >= 0, "0 or more")
        expect("sticky", self.sticky, self.sticky is None or 0 <= self.sticky < 1, "a probability below 1")

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        """Of a moment of random play: what came of it in the next few steps, as its worth."""
        import numpy as np
        import torch

        from lamina.nn.distributions import projected

        batch = {name: torch.from_numpy(array) for name, array in self.known.reader.encode(columns).items()}
        if mode == "predict":
            return batch
        worth = torch.tensor(np.array(columns["return"], np.float32))
        batch["action"] = torch.from_numpy(np.array(columns["action"], np.int64))
        batch["weight"] = torch.ones_like(worth)
        if self.distribution == "categorical":
            support = torch.linspace(self.least, self.most, self.atoms)
            whole_B1 = torch.ones(len(worth), 1)
            return batch | {"worth": projected(worth.unsqueeze(1), whole_B1, support)}
        return batch | {"worth": worth if self.distribution == "none" else worth.unsqueeze(1).expand(-1, self.atoms).clone()}

    def model(self) -> nn.Module:
        from lamina.models.q_network import QNetwork

        world = self.known
        atoms = 1 if self.distribution == "none" else self.atoms
        support = (self.least, self.most) if self.distribution == "categorical" else None
        bounds = (world.low, world.high) if self.scale_observations and not world.pictures else None
        return QNetwork(
            world.reader.shape, world.actions.sizes[0], self.width, self.depth, self.dueling, self.noisy, atoms, support,
            self.channels, bounds,
        )  # fmt: skip

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """Huber's error of what the action was said to be worth; of a distribution, how far it is from what it should be."""
        import torch

        assert isinstance(output, dict)
        error_B = self._errors(output, batch)
        return error_B * batch["weight"], torch.ones_like(error_B)

    def _errors(self, output: Mapping[str, Tensor], batch: Batch) -> Tensor:
        import torch.nn.functional as F

        from lamina.nn.distributions import quantile_errors

        rows_B = batch["action"]
        if self.distribution == "none":
            said_B = output["action_values"].gather(1, rows_B.unsqueeze(1)).squeeze(1)
            return F.smooth_l1_loss(said_B, batch["worth"], reduction="none")
        atoms_BZ = output["atoms"].take_along_dim(rows_B[:, None, None], 1).squeeze(1)
        if self.distribution == "categorical":
            return -(batch["worth"] * atoms_BZ).sum(1)
        return quantile_errors(atoms_BZ, batch["worth"])

    def _foreseen(
        self, model: nn.Module, target: nn.Module, after: Sequence[Tensor], worth_B: Tensor, weight_B: Tensor
    ) -> Tensor:
        """What steps were worth: what came, and the discounted worth of what the target network says of the best action."""
        from lamina.nn.distributions import projected

        later = target(*after)
        chooser = model(*after) if self.double else later
        best_B = chooser["action_values"].argmax(1)
        if self.distribution == "none":
            return worth_B + weight_B * later["action_values"].gather(1, best_B.unsqueeze(1)).squeeze(1)
        atoms_BZ = later["atoms"].take_along_dim(best_B[:, None, None], 1).squeeze(1)
        if self.distribution == "quantile":
            return worth_B.unsqueeze(1) + weight_B.unsqueeze(1) * atoms_BZ
        support: Any = target.support
        return projected(worth_B.unsqueeze(1) + weight_B.unsqueeze(1) * support, atoms_BZ.exp(), support)

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        """The `which`-th best action, and what the model says that it is worth."""
        import torch

        output = self.outputs(forward, batch)
        assert isinstance(output, dict)
        action_B = output["action_values"].argsort(1, descending=True)[:, which]
        worth = output["action_values"].gather(1, action_B.unsqueeze(1)).squeeze(1)
        if "atoms" in output:
            worth = output["atoms"].take_along_dim(action_B[:, None, None], 1).squeeze(1)
            worth = worth.exp() if self.distribution == "categorical" else worth
        return {"action": action_B, "worth": worth, "weight": torch.ones(len(action_B), device=action_B.device)}

    def score(self, output: Output, batch: Batch) -> Tensor:
        """How much more the action is worth than the mean of all: its advantage."""
        assert isinstance(output, dict)
        values_BK = output["action_values"]
        return values_BK.gather(1, batch["action"].unsqueeze(1)).squeeze(1) - values_BK.mean(1)

    def serving(self) -> Serving:
        world = self.known
        return Serving(world.reader, world.actions)

    def recipe(self, data: Data) -> Recipe:
        """Adam at 1e-3, constant; batches of 64; of pictures 1e-4 and 32."""
        from lamina.train.recipe import Recipe

        pictures = self.known.pictures
        timesteps = self.timesteps or (1_000_000 if pictures else 100_000)
        steps = max(math.ceil((timesteps - self.warm_up) / self.steps_per_update), 1)
        return Recipe(
            optimizer="adamw", lr=1e-4 if pictures else 1e-3, weight_decay=0.0, schedule="constant", warmup=0.0, clip=10.0,
            epochs=None, steps=steps, batch_size=32 if pictures else 64, evaluations=20,
        )  # fmt: skip

    def stream(self, model: nn.Module, columns: Columns, size: int, seed: int, progress: Callable[[], float]) -> Stream:
        """What the agent lives through."""
        from lamina.data.experience import Experience, Living
        from lamina.data.worlds import worlds
        from lamina.nn.noisy_linear import NoisyLinear
        from lamina.train.captured import Captured

        world = self.known
        clips, lives = (bool(world.game) if value is None else value for value in (self.clip_rewards, self.lives))
        living = Living(
            self.replay, self.warm_up, self.steps_per_update, self.epsilon, self.exploring, self.lasting, self.n_steps,
            self.gamma, self.target_every, self.priority, clips, lives,
        )  # fmt: skip
        target = copy.deepcopy(model).requires_grad_(False).eval()

        def act(*inputs: Tensor) -> tuple[Tensor]:
            return (model(*inputs)["action_values"].argmax(1),)

        def foreseen(worth_B: Tensor, weight_B: Tensor, *after: Tensor) -> tuple[Tensor]:
            return (self._foreseen(model, target, after, worth_B, weight_B),)

        def wrong(action_B: Tensor, worth: Tensor, *before: Tensor) -> tuple[Tensor]:
            return (self._errors(model(*before), {"action": action_B, "worth": worth}).abs(),)

        asked = Captured(act, [model]), Captured(foreseen, [model, target]), Captured(wrong, [model])
        noisy = [module for module in model.modules() if isinstance(module, NoisyLinear)]
        several = worlds(world, self.envs, workers=self.workers)
        return Experience(model, target, *asked, world, several, living, noisy, size, seed, progress)

    def _policy(self, forward: Forward) -> Policy:
        """The best action."""
        import torch

        ask, actions = Asking(forward, [spec.name for spec in self.inputs], torch.device("cpu")), self.known.actions

        def policy(arrays: Arrays, rngs: list[np.random.Generator]) -> tuple[np.ndarray, None]:
            with torch.inference_mode():
                return actions.likeliest(ask(arrays)), None

        return policy

    def evaluate(self, forward: Forward, columns: Columns, batch_size: int = 250) -> tuple[dict[str, float], Columns]:
        """An episode for each example, from its seed to its end."""
        from lamina.data.play import judged

        said = judged(self.known, self._policy(forward), columns)
        return self.metrics(columns, said) if said else {}, said

    def portrayed(self, forward: Forward, columns: Columns, folder: Path) -> dict[str, Path]:
        """The first episode as a film."""
        from lamina.data.film import first_filmed

        return first_filmed(self.known, self._policy(forward), columns, folder)

    def metrics(self, examples: Columns, predictions: Columns) -> dict[str, float]:
        """Means over episodes: of what was gained, and of how many steps it took; of Atari, beside a person's too."""
        from lamina.data.play import means

        return means(predictions, self.known.game)

    def details(self, examples: Columns, predictions: Columns) -> dict[str, Any]:
        """How what was gained is spread over the episodes."""
        from lamina.data.play import spread

        return {"returns": [spread(predictions["return"])]}
