"""What agents gain, over seeds: `python -m benchmarks.agent_returns ppo Acrobot-v1` (`--list` names all).

    python -m benchmarks.agent_returns ppo LunarLander-v3 --seeds 5 --jobs 2
    python -m benchmarks.agent_returns ppo CartPole-v1 --set scale_rewards=false --name rewards-as-they-are

Each seed is one `lamina train` of one thread. The weights kept are those of the best evaluation, on episodes of its own; `return`
is the mean over 100 test episodes that neither training nor choice has seen. A finished run in the folder is read, not trained
again. `curve` is the mean of all evaluations on the way: who learns faster has more of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import RESULTS, clean, machine, write
from lamina.compare.over_runs import iqm

SMALL = {"lr": 1e-3, "entropy": 0.0, "gamma": 0.95, "scale_rewards": False}
LANDER = {"rollout": 1024, "batch_size": 64, "gae_lambda": 0.98, "gamma": 0.999, "update_epochs": 4}
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", "CartPole-v1"): {"timesteps": 100_000},
    ("ppo", "Acrobot-v1"): {"timesteps": 300_000},
    ("ppo", "Pendulum-v1"): {"timesteps": 300_000, **SMALL},
    ("ppo", "LunarLander-v3"): {"timesteps": 1_000_000, **LANDER},
    ("ppo", "Hopper-v5"): {"timesteps": 1_000_000, "envs": 4, "rollout": 512, "batch_size": 64, "entropy": 0.0},
    ("dqn", "CartPole-v1"): {},
    ("dqn", "MountainCar-v0"): {
        "timesteps": 120_000, "batch_size": 128, "replay": 50_000, "target_every": 250, "exploring": 0.3, "epsilon": 0.02,
        "lasting": 2.0,
    },
    ("dqn", "LunarLander-v3"): {
        "timesteps": 100_000, "envs": 4, "lr": 6.3e-4, "batch_size": 128, "replay": 50_000, "target_every": 250,
        "steps_per_update": 1, "exploring": 0.12, "epsilon": 0.1, "width": 256,
    },
}  # fmt: skip
"""Of the rest, Lamina's defaults. Where RL Baselines3 Zoo publishes settings they were the start."""

WITHOUT = {
    "orthogonal": "import lamina.models.actor_critic as m; m.orthogonal = lambda layer, gain: layer",
    "standardized": "import lamina.data.rollouts as r; r.standardized = lambda advantage, weight: advantage",
}
"""Parts that no setting turns off."""


def trained(task: str, environment: str, settings: Mapping[str, Any], without: str | None, seed: int, out: Path) -> Path:
    """The run of a seed, trained, or gone on with, where it does not stand there finished."""
    told = out / "run.json"
    if told.is_file() and json.loads(told.read_text())["status"] == "finished":
        return out
    flags = [word for name, value in settings.items() for word in flag(name, value)]
    program = [f"{WITHOUT[without]}; " if without else "", "import sys; from lamina.cli import main; sys.exit(main())"]
    anew = [task, "--data", environment, *flags, "--seed", str(seed), "--threads", "1", "--quiet", "--out", str(out)]
    asked = ["--resume", str(out)] if told.is_file() else anew
    command = [sys.executable, "-c", "".join(program), "train", *asked]
    subprocess.run(command, check=True, env=clean(1))
    return out


def flag(name: str, value: Any) -> list[str]:
    named = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{named}" if value else f"--no-{named}"]
    return [f"--{named}", str(value)]


def figures(run: Path, seed: int) -> dict[str, Any]:
    """What one run gained."""
    told = json.loads((run / "run.json").read_text())
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    judged = [row["return"] for row in rows if row["part"] == "valid"]
    gained = {name: round(value, 2) for name, value in told["metrics"]["return"].items()}
    return {"seed": seed, **gained, "curve": round(float(np.mean(judged)), 2), "seconds": told["seconds"]}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("ppo", "dqn"), nargs="?")
    parser.add_argument("environment", nargs="?")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--timesteps", type=int, help="in place of those above")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings changed, as JSON values")
    parser.add_argument("--without", choices=sorted(WITHOUT), help="a part that no setting turns off")
    parser.add_argument("--name", help="of these settings (default: what was changed)")
    parser.add_argument("--folder", type=Path, default=Path("runs/agents"))
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(f"{task} {environment}: {settings}" for (task, environment), settings in SETTINGS.items()))
        return 0
    changed = {name: json.loads(value) for name, value in (pair.split("=", 1) for pair in options.set)}
    settings = {**SETTINGS.get((options.task, options.environment), {}), **changed}
    if options.timesteps:
        settings["timesteps"] = options.timesteps
    changes = [*options.set, *([f"timesteps={options.timesteps}"] if options.timesteps else [])]
    changes += [f"without-{options.without}"] if options.without else []
    name = options.name or "-".join(changes) or "default"  # a run of other settings is never read for one of these
    place = options.folder / f"{options.task}_{options.environment.replace('/', '-')}_{name}"

    def one(seed: int) -> dict[str, Any]:
        return figures(trained(options.task, options.environment, settings, options.without, seed, place / str(seed)), seed)

    with ThreadPoolExecutor(options.jobs) as pool:
        seeds = list(pool.map(one, range(options.seeds)))
    gained = [one["value"] for one in seeds]
    found = {
        "settings": settings, "seeds": seeds, "mean": round(float(np.mean(gained)), 2), "least": min(gained),
        "interquartile_mean": round(float(iqm(np.array(gained))), 2),
        "curve": round(float(np.mean([one["curve"] for one in seeds])), 2),
    }  # fmt: skip
    for one_seed in seeds:
        print(f"seed {one_seed['seed']}: {one_seed['value']:.1f} ({one_seed['low']:.1f} to {one_seed['high']:.1f})")
    print(f"mean {found['mean']}, interquartile mean {found['interquartile_mean']}, curve {found['curve']}")
    before = RESULTS / "agent_returns.json"
    known = json.loads(before.read_text())["found"] if before.is_file() else {}
    known[f"{options.task} {options.environment} {name}"] = found
    write("agent_returns", machine=machine(), command="python -m benchmarks.agent_returns TASK ENVIRONMENT", found=known)
    return 0


if __name__ == "__main__":
    sys.exit(main())
