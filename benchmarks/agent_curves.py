"""Who learns faster from the same play: learning curves beside Stable-Baselines3, over seeds.

    python -m benchmarks.agent_curves ppo --steps 50000 --seeds 10 --jobs 2

The contenders and settings of `benchmarks.agents`. A curve is what the last 100 episodes of training gained, by steps played; a
run's figure is its mean over the whole training. Told are the interquartile means over seeds with bootstrap intervals, and the
probability that a run of Lamina is above one of Stable-Baselines3, with the exact Mann-Whitney test (Agarwal et al. 2021).

Shapes: N runs, E places on a curve.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.agents import CONTENDERS
from benchmarks.harness import Contender, machine, run, write
from benchmarks.side_by_side import words
from lamina.compare.curves import band
from lamina.compare.over_runs import bounds, drawn_again, iqm, mann_whitney, probability_of_improvement

PLACES, RESAMPLES, CONFIDENCE = 50, 2000, 0.95


def curve_of(contender: Contender, settings: dict[str, Any], seed: int, place_E: np.ndarray) -> np.ndarray:
    """What one run gained at each place (E,): before its first episode ended, what that gained."""
    told = run(contender, words({**settings, "seed": seed, "curve": 1}), 1)["curve"]
    played, gained = np.array(told, float).T
    return np.interp(place_E, played, gained)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("algorithm", choices=("ppo", "dqn"))
    parser.add_argument("--here", action="store_true", help="peers are importable by the running interpreter")
    parser.add_argument("--steps", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--picture", type=Path, help="draw the curves there")
    options = parser.parse_args(arguments)
    settings = {"algorithm": options.algorithm, "steps": options.steps}
    each = {c.name: replace(c, environment=None) if options.here else c for c in CONTENDERS}
    place_E = np.linspace(0, options.steps, PLACES + 1)[1:]
    jobs = list(itertools.product(range(options.seeds), each))
    with ThreadPoolExecutor(options.jobs) as pool:
        found = list(pool.map(lambda job: curve_of(each[job[1]], settings, job[0], place_E), jobs))
    curves = {name: np.array([c for c, job in zip(found, jobs, strict=True) if job[1] == name]) for name in each}
    means = {name: curve_NE.mean(1) for name, curve_NE in curves.items()}
    rows_RN = drawn_again(options.seeds, RESAMPLES, 0, 0)
    told: dict[str, Any] = {}
    for name, mean_N in means.items():
        low, high = bounds(iqm(mean_N[rows_RN]), CONFIDENCE)
        told[name] = {"means": mean_N.round(2).tolist(), "iqm": round(float(iqm(mean_N)), 2), "low": low, "high": high}
        print(f"{each[name].about}: {told[name]['iqm']:.1f} ({low:.1f} to {high:.1f})")
    above = float(probability_of_improvement(means["lamina"], means["sb3"]))
    p_value = mann_whitney(means["lamina"], means["sb3"])
    print(f"a run of Lamina is above one of Stable-Baselines3 with probability {above:.2f} (Mann-Whitney p = {p_value:.3f})")
    write(
        f"agent_curves_{options.algorithm}", machine=machine(), settings={**settings, "seeds": options.seeds}, found=told,
        command=["python", "-m", "benchmarks.agent_curves", *sys.argv[1:]], probability_above=above, p_value=p_value,
        places=place_E.tolist(), curves={name: curve_NE.round(1).tolist() for name, curve_NE in curves.items()},
    )  # fmt: skip
    if options.picture:
        draw({each[name].about: curve_NE for name, curve_NE in curves.items()}, place_E, options.picture)
    return 0


def draw(curves: dict[str, np.ndarray], place_E: np.ndarray, path: Path) -> None:
    """The interquartile mean of each contender with its band."""
    from lamina.drawing import COLORS, new_figure, save

    picture, (axes,) = new_figure(7, 3.6)
    for color, (about, curve_NE) in zip(COLORS, curves.items(), strict=False):
        low_E, high_E = band(curve_NE, RESAMPLES, CONFIDENCE, 0)
        axes.fill_between(place_E, low_E, high_E, color=color, alpha=0.18, linewidth=0)
        axes.plot(place_E, iqm(curve_NE.T), color=color, linewidth=2.2, label=about)
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return of the last 100 episodes")
    axes.legend(frameon=False)
    save(picture, path)


if __name__ == "__main__":
    sys.exit(main())
