"""Proximal policy optimization: Schulman et al. 2017, "Proximal Policy Optimization Algorithms".

An agent learns from its own play, which it leaves behind after a few updates. What is known to matter beside the paper's
equation 7 (Engstrom et al. 2020; Andrychowicz et al. 2021; Huang et al. 2022, "The 37 Implementation Details") stands as a flag
or a line: orthogonal weights (`models/actor_critic.py`), advantages of mean 0 and deviation 1 a batch and the value of what a
time limit cut (`data/rollouts.py`, `data/returns.py`), observations and rewards scaled as they come, clipped values, and a rate
that falls to nothing.

Shapes: B examples, K choices.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from typing_extensions import Doc

from lamina.task import Arrays, Asking, Batch, Columns, Forward, Input, Mode, Output, Serving, Stream, Task, answering, learned

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor, nn

    from lamina.data.play import Policy
    from lamina.data.source import Data, Source
    from lamina.data.world import World
    from lamina.train.recipe import Recipe


@dataclass(frozen=True)
class PPO(Task):
    """What is observed in, an action out: learned by playing."""

    timesteps: Annotated[int | None, Doc("steps played in all worlds together (default: 500,000; of pictures, 2 million)")] = None
    envs: Annotated[int, Doc("worlds played side by side")] = 16
    workers: Annotated[int, Doc("processes that step the worlds, for slow ones; 0: this one does; not of Atari")] = 0
    rollout: Annotated[int, Doc("steps of each world between updates")] = 128
    overlap: Annotated[bool, Doc("play the next rollout while one is learned from, by the policy of one update ago")] = False
    update_epochs: Annotated[int | None, Doc("times that a rollout is learned from (default: 10; of pictures, 4)")] = None
    gamma: Annotated[float, Doc("discount of a reward one step later")] = 0.99
    gae_lambda: Annotated[float, Doc("how far advantages look ahead before they trust the value: 0 to 1")] = 0.95
    clip_range: Annotated[float, Doc("how far the probability of an action may move in an update, as a share")] = 0.2
    clip_values: Annotated[bool, Doc("values may not move further than the clip range in an update either")] = False
    entropy: Annotated[float, Doc("weight of the entropy of the policy: more of it explores longer")] = 0.01
    value_weight: Annotated[float, Doc("weight of the value's squared error")] = 0.5
    scale_observations: Annotated[bool, Doc("observed numbers over their mean and deviation so far")] = True
    scale_rewards: Annotated[bool, Doc("rewards over the deviation of their discounted sum so far; not of Atari")] = True
    clip_rewards: Annotated[bool | None, Doc("learn from the sign of rewards (default: of Atari)")] = None
    lives: Annotated[bool | None, Doc("learn that the loss of a life is an end (default: of Atari)")] = None
    width: Annotated[int, Doc("units of a hidden layer, where numbers are observed")] = 64
    depth: Annotated[int, Doc("hidden layers, where numbers are observed")] = 2
    channels: Annotated[
        int, Doc("of the first convolution, where pictures are observed; 32 is the network of Mnih et al. 2015")
    ] = 32
    recurrent: Annotated[int, Doc("units of an LSTM, by which the policy remembers; 0: it does not")] = 0
    sequence: Annotated[int, Doc("steps in a row through which the LSTM learns")] = 16
    sticky: Annotated[float | None, Doc("probability that Atari repeats the last action (default: as the id says)")] = None
    frame_skip: Annotated[int | None, Doc("frames that an action lasts, of pictures (default: 4 of Atari, else 1)")] = None
    frame_stack: Annotated[int, Doc("frames that are seen at once, of pictures")] = 4
    color: Annotated[bool, Doc("pictures keep their colors")] = False
    time_limit: Annotated[int | None, Doc("steps after which an episode is cut (default: as the environment has it)")] = None
    masks: Annotated[bool, Doc("forbid what the environment says is not possible (action_mask)")] = True
    episodes: Annotated[int, Doc("episodes played for the test; a tenth of it at each evaluation")] = 100
    act: Annotated[
        Literal["auto", "likeliest", "drawn"],
        Doc("the action that is taken when judged; auto: likeliest, of pictures drawn by its probability"),
    ] = answering("auto")

    world: Mapping[str, Any] = learned(None)
    """The state of a World."""

    name: ClassVar[str] = "ppo"
    about: ClassVar[str] = "what is observed -> an action, learned by playing (policy gradient)"
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
        return ("action", "log_probability", "value_before", "advantage", "return", "weight")

    def read(self, source: Source) -> Data:
        """Moments of random play. The demo is CartPole: a pole to be kept upright."""
        from lamina.data.play import random_play
        from lamina.data.world import Show, world_of

        self.check_settings()
        show = Show(self.sticky, self.frame_skip, self.frame_stack, 84, self.time_limit, self.masks, self.color)
        world = world_of(source, show, demo="CartPole-v1")
        return random_play(world, source, self.episodes, self.gamma)

    def prepare(self, data: Data) -> PPO:
        world = dict(data.about["world"])
        return dataclasses.replace(self, world=world | {"reader": {**world["reader"], "memory": 2 * self.recurrent}})

    def check_settings(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        from lamina.train.options import expect

        counts = "timesteps envs rollout update_epochs width channels sequence frame_skip frame_stack time_limit episodes"
        for flag in counts.split():
            value = getattr(self, flag)
            expect(flag.replace("_", "-"), value, value is None or value >= 1, "1 or more")
        expect("depth", self.depth, self.depth >= 0, "0 or more")
        expect("recurrent", self.recurrent, self.recurrent >= 0, "0 or more")
        for flag in ("gamma", "gae_lambda"):
            expect(flag.replace("_", "-"), getattr(self, flag), 0 <= getattr(self, flag) <= 1, "a number from 0 to 1")
        expect("workers", self.workers, self.workers >= 0, "0 or more")
        expect("sticky", self.sticky, self.sticky is None or 0 <= self.sticky < 1, "a probability below 1")
        expect("clip-range", self.clip_range, self.clip_range > 0, "a number above 0")

    def encode(self, columns: Columns, mode: Mode) -> Batch:
        """Of a moment of random play: the labels of an even policy, whose judge expects nothing."""
        import numpy as np
        import torch

        world = self.known
        batch = {name: torch.from_numpy(array) for name, array in world.reader.encode(columns).items()}
        if mode == "predict":
            return batch
        actions = world.actions
        dtype = np.float32 if actions.kind == "continuous" else np.int64
        worth = torch.tensor(np.array(columns["return"], np.float32))
        even = -float(np.log(actions.sizes).sum()) if actions.choices else -1.42 * actions.width  # of a standard normal
        return batch | {
            "action": torch.from_numpy(np.array(columns["action"], dtype)),
            "log_probability": torch.full_like(worth, even),
            "value_before": torch.zeros_like(worth),
            "advantage": worth / (1 + worth.abs()),
            "return": worth,
            "weight": torch.ones_like(worth),
        }

    def model(self) -> nn.Module:
        from lamina.models.actor_critic import ActorCritic
        from lamina.models.recurrent_actor_critic import RecurrentActorCritic

        world = self.known
        says = world.reader.shape, world.actions.kind, world.actions.sizes
        sizes = self.width, self.depth, self.scale_observations, self.channels
        return RecurrentActorCritic(*says, self.recurrent, *sizes) if self.recurrent else ActorCritic(*says, *sizes)

    def outputs(self, forward: Forward, batch: Batch) -> Output:
        """Of a policy that remembers, step by step: each begins with what the one before it has kept (Hochreiter and Schmidhuber
        1997), the first with what had been kept when it was played (Kapturowski et al. 2019, "stored state")."""
        import torch

        if not self.recurrent or "fresh" not in batch:
            return super().outputs(forward, batch)
        names = [spec.name for spec in self.inputs]
        steps = {name: batch[name].unflatten(0, (self.sequence, -1)) for name in (*names, "fresh")}
        said: list[Mapping[str, Tensor]] = []
        for t in range(self.sequence):
            inputs = {name: steps[name][t] for name in names}
            if said:
                inputs["state"] = said[-1]["next_state"] * (1 - steps["fresh"][t]).unsqueeze(1)
            output = forward(*inputs.values())
            assert isinstance(output, dict)
            said.append(output)
        return {name: torch.cat([one[name] for one in said]) for name in said[0]}

    def loss(self, output: Output, batch: Batch) -> tuple[Tensor, Tensor]:
        """Equation 9: the clipped surrogate (equation 7), the value's error, and entropy."""
        import torch

        assert isinstance(output, dict)
        acts, weight_B, advantage_B = self._acts(), batch["weight"], batch["advantage"]
        ratio_B = (acts.log_probability(output, batch["action"]) - batch["log_probability"]).exp()
        clipped_B = ratio_B.clamp(1 - self.clip_range, 1 + self.clip_range)
        surrogate_B = torch.minimum(ratio_B * advantage_B, clipped_B * advantage_B)
        value_B, before_B = output["value"][:, 0], batch["value_before"]
        error_B = (value_B - batch["return"]).square()
        if self.clip_values:
            near_B = before_B + (value_B - before_B).clamp(-self.clip_range, self.clip_range)
            error_B = torch.maximum(error_B, (near_B - batch["return"]).square())
        bonus_B = self.entropy * acts.entropy(output) if self.entropy else 0.0
        return (0.5 * self.value_weight * error_B - surrogate_B - bonus_B) * weight_B, weight_B

    def _acts(self) -> Any:
        from lamina.nn.distributions import distribution

        actions = self.world["actions"]
        return distribution(actions["kind"], actions["sizes"])

    def target(self, forward: Forward, batch: Batch, which: int = 0) -> Batch:
        """The `which`-th likeliest action; of several choices or numbers, the likeliest."""
        import torch

        output = self.outputs(forward, batch)
        assert isinstance(output, dict)
        if "logits" in output:
            action = output["logits"].argsort(1, descending=True)[:, which]
        elif "mean" in output:
            action = output["mean"]
        else:
            action = torch.stack([part.argmax(1) for part in output["action_logits"].split(self.world["actions"]["sizes"], 1)], 1)
        value_B = output["value"][:, 0]
        one_B = torch.ones_like(value_B)
        said = {"action": action, "log_probability": self._acts().log_probability(output, action)}
        return said | {"value_before": value_B, "advantage": one_B, "return": value_B, "weight": one_B}

    def score(self, output: Output, batch: Batch) -> Tensor:
        """The log probability of the action; of numbers, how far the policy goes their way: the log probability of what it says
        itself is flat."""
        assert isinstance(output, dict)
        if "mean" in output:
            action_BA = batch["action"]
            return (output["mean"] * action_BA).sum(1) / action_BA.norm(dim=1).clamp(min=1e-6)
        return self._acts().log_probability(output, batch["action"])

    def serving(self) -> Serving:
        world = self.known
        return Serving(world.reader, world.actions)

    def recipe(self, data: Data) -> Recipe:
        """Adam at 3e-4, falling to nothing; batches of 256; of pictures 2.5e-4."""
        from lamina.train.recipe import Recipe

        return Recipe(
            optimizer="adamw", lr=2.5e-4 if self.known.pictures else 3e-4, weight_decay=0.0, schedule="linear", warmup=0.0,
            clip=0.5, epochs=1, batch_size=min(256, self.envs * self.rollout), evaluations=10,
        )  # fmt: skip

    def epoch(self, data: Data) -> int:
        """Rows of all rollouts, as often as each is learned from."""
        timesteps = self.timesteps or (2_000_000 if self.known.pictures else 500_000)
        a_rollout = self.envs * self.rollout
        return math.ceil(timesteps / a_rollout) * a_rollout * self._epochs()

    def _epochs(self) -> int:
        return self.update_epochs or (4 if self.known.pictures else 10)

    def stream(self, model: nn.Module, columns: Columns, size: int, seed: int, progress: Callable[[], float]) -> Stream:
        """The agent's own play, as it goes."""
        import torch

        from lamina.data.rollouts import Playing, Rollouts, batch_of
        from lamina.data.worlds import worlds
        from lamina.train.captured import Captured
        from lamina.train.options import expect

        expect("batch-size", size, size <= self.envs * self.rollout, f"at most a rollout, {self.envs * self.rollout} steps")
        world, acts = self.known, self._acts()
        atari = bool(world.game)
        clips, lives = (atari if value is None else value for value in (self.clip_rewards, self.lives))
        sequence = self.sequence if self.recurrent else 1
        expect(
            "sequence", sequence, self.rollout % sequence == 0 == size % sequence, "steps that divide --rollout and --batch-size"
        )
        playing = Playing(
            self.rollout, self._epochs(), self.gamma, self.gae_lambda, self.scale_rewards and not atari, clips, lives,
            sequence, world.reader.memory, self.overlap,
        )  # fmt: skip
        scales: Any = None
        if self.scale_observations and not world.pictures:
            scales = model.norm
            scales.update(torch.from_numpy(world.reader.encode(columns)["observation"]).to(scales.mean.device))

        actor = copy.deepcopy(model) if self.overlap else model

        def act(*inputs_and_noise: Tensor) -> tuple[Tensor, ...]:
            *inputs, noise = inputs_and_noise
            said = actor(*inputs)
            action = acts.sample(said, noise)
            kept = (said["next_state"],) if "next_state" in said else ()
            return action, acts.log_probability(said, action), said["value"][:, 0], *kept

        several = worlds(world, self.envs, workers=self.workers)
        return Rollouts(
            Captured(act, [actor]), acts.noise, Captured(batch_of), scales, several, playing, size, seed,
            [spec.name for spec in self.inputs], next(model.parameters()).device,
            lambda: actor.load_state_dict(model.state_dict()) if self.overlap else None,
        )  # fmt: skip

    def _policy(self, forward: Forward) -> Policy:
        import torch

        world = self.known
        ask = Asking(forward, [spec.name for spec in self.inputs], torch.device("cpu"))
        drawn = self.act == "drawn" or (self.act == "auto" and world.pictures)

        def policy(arrays: Arrays, rngs: list[np.random.Generator]) -> tuple[np.ndarray, np.ndarray | None]:
            with torch.inference_mode():
                said = ask(arrays)
            return world.actions.drawn(said, rngs) if drawn else world.actions.likeliest(said), said.get("next_state")

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
