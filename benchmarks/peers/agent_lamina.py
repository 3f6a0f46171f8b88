"""Lamina's agents on CartPole and Pong, by the same hyperparameters as agent_sb3.py; one evaluation of a few episodes ends it."""

import json
import tempfile
import time

BEGAN = time.perf_counter()  # libraries are opened, and networks made, as part of the work

from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import lamina  # noqa: E402
from benchmarks.peers.acting import ATARI, ENV, asked  # noqa: E402

options = asked()
given: dict[str, Any] = {
    "timesteps": options.steps, "episodes": 10, "evaluations": 1, "quiet": True, "tensorboard": False, "device": "cpu",
    "threads": options.threads, "seed": options.seed,
}  # fmt: skip
if options.algorithm == "ppo":
    given |= {
        "envs": 8, "rollout": 32, "batch_size": 256, "update_epochs": 20, "gae_lambda": 0.8, "gamma": 0.98, "entropy": 0.0,
        "lr": 1e-3, "scale_rewards": False, "scale_observations": False, "value_weight": 1.0,  # theirs is not halved
    }  # fmt: skip
elif options.algorithm == "atari":
    given |= {
        "envs": 8, "rollout": 128, "batch_size": 256, "update_epochs": 4, "clip_range": 0.1, "lr": 2.5e-4, "sticky": 0.0,
        "episodes": 1, "value_weight": 1.0,
    }  # fmt: skip
else:  # theirs learns from 128 batches at once, between which the target network cannot be renewed
    given |= {
        "envs": 1, "lr": 2.3e-3, "batch_size": 64, "replay": 100_000, "warm_up": 1000, "target_every": 128,
        "steps_per_update": 2.0, "exploring": 0.16, "epsilon": 0.04, "width": 256, "double": False, "scale_observations": False,
    }  # fmt: skip
with tempfile.TemporaryDirectory() as folder:
    atari = options.algorithm == "atari"
    lamina.train("ppo" if atari else options.algorithm, ATARI if atari else ENV, out=str(Path(folder) / "run"), **given)
    seconds = time.perf_counter() - BEGAN
    lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
rows = [row for row in map(json.loads, lines) if row["part"] == "train"]
steps, first = rows[-1]["timesteps"], 0.0
if options.warm:
    half = next(row for row in rows if row["timesteps"] >= steps / 2)
    first, seconds = half["timesteps"], rows[-1]["seconds"] - half["seconds"]
told = {"steps": steps - first, "seconds": seconds}
curve = [[row["timesteps"], row["return"]] for row in rows if "return" in row]
print(json.dumps({**told, "curve": curve} if options.curve else told))
