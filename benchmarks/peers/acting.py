"""What contenders that train an agent share."""

from __future__ import annotations

import argparse

ENV, ATARI = "CartPole-v1", "PongNoFrameskip-v4"


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--algorithm", choices=("ppo", "dqn", "atari"), required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--curve", type=int, default=0, help="tell what the last 100 episodes gained, by steps played")
    return parser.parse_args()
