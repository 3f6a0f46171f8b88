"""What contenders that train an agent share."""

from __future__ import annotations

import argparse

ENV = "CartPole-v1"


def asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--algorithm", choices=("ppo", "dqn"), required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--warm", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()
