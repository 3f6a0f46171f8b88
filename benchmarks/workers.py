"""Steps a second of worlds in processes of their own, beside the same worlds in one: `python -m benchmarks.workers`.

Nothing is learned. Both take the same random actions, in turn, and are compared within a round. The load average before the
start is told: on a machine whose cores are taken, figures mean little.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

import numpy as np

from lamina.data.play import random_action
from lamina.data.workers import Workers
from lamina.data.world import Show, World
from lamina.data.worlds import OneByOne


def rate(several: OneByOne | Workers, action_TN: np.ndarray, seconds: float) -> float:
    """Steps a second of all worlds together."""
    several.reset(range(several.count))
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        several.step(action_TN[steps % len(action_TN)])
        steps += 1
    return steps * several.count / (time.perf_counter() - began)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", nargs="+", default=["CartPole-v1", "LunarLander-v3", "Hopper-v5", "CarRacing-v3"])
    parser.add_argument("--envs", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args(arguments)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.2f}, {options.envs} worlds, {options.workers} workers")
    for name in options.environments:
        world, rng = World.of(name, Show()), np.random.default_rng(0)
        action_TN = np.array([[random_action(world, rng, None, 0) for _ in range(options.envs)] for _ in range(64)])
        both = OneByOne(world, options.envs), Workers(world, options.envs, options.workers)
        rates_RC = np.array([[rate(each, action_TN, options.seconds) for each in both] for _ in range(options.rounds)])
        for each in both:
            each.close()
        one, several = np.median(rates_RC, 0)
        ratio_R = rates_RC[:, 1] / rates_RC[:, 0]
        span = f"{np.median(ratio_R):.2f} ({ratio_R.min():.2f} to {ratio_R.max():.2f})"
        print(f"{name}: {one:,.0f} steps a second in one process, {several:,.0f} in {options.workers}: {span}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
