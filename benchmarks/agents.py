"""Steps of play a second, learning included, beside Stable-Baselines3: `python -m benchmarks.agents ppo` (or dqn, atari).

    python -m benchmarks.agents ppo --steps 100000 --rounds 3            # a process from its start: libraries are opened too
    python -m benchmarks.agents ppo --steps 100000 --rounds 3 --warm     # the second half alone

CartPole-v1, the hyperparameters of RL Baselines3 Zoo, the same for both: ppo with 8 worlds, 32 steps a rollout, 20 epochs of
batches of 256, two perceptrons of 64 x 64; dqn with a batch of 64 for every second step, from a replay of 100,000, a
perceptron of 256 x 256. atari is ppo on Pong, with 8 worlds, 128 steps a rollout, 4 epochs of batches of 256, and the network of
Mnih et al. 2015; Lamina computes its convolutions in bfloat16 where the processor has it.
Nothing is evaluated on the way. Contenders are run in turn and compared within a round.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.environments import Environment
from benchmarks.harness import Contender
from benchmarks.side_by_side import add_flags, compare

SB3 = Environment(
    "stable-baselines3", ("stable-baselines3==2.9.2", "gymnasium[classic-control]==1.4.0", "ale-py", "opencv-python-headless")
)
CONTENDERS = (
    Contender("sb3", "Stable-Baselines3 (the baseline)", "benchmarks.peers.agent_sb3", (), SB3),
    Contender("lamina", "Lamina", "benchmarks.peers.agent_lamina"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("algorithm", choices=("ppo", "dqn", "atari"))
    add_flags(parser, "agents", CONTENDERS, "sb3")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--warm", action="store_true", help="the second half alone")
    options = parser.parse_args(arguments)
    if options.name == "agents":
        options.name = f"agents_{options.algorithm}{'_warm' if options.warm else ''}"
    settings = {"algorithm": options.algorithm, "steps": options.steps, "warm": int(options.warm)}
    return compare(options, CONTENDERS, "sb3", [], settings, "steps")


if __name__ == "__main__":
    sys.exit(main())
