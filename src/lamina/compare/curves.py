"""Learning curves over seeds: the headline on validation as training goes on, one line a contender, with its band.

Shapes: N runs, E evaluations, R resamples.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lamina.compare.over_runs import LEAST_RUNS, bounds, drawn_again, iqm
from lamina.drawing import COLORS, new_figure, save
from lamina.errors import LaminaError

if TYPE_CHECKING:
    from lamina.compare.contenders import Group
    from lamina.run import Run

PLAYED = "timesteps"
"""What the stream of an agent logs of how much it has played."""
LEGEND = 2
"""Settings that a legend has room for; more are in the tables."""


@dataclass(frozen=True)
class Curve:
    """The headline of one run on validation."""

    step_E: np.ndarray
    """Optimizer steps before each evaluation."""
    played_E: np.ndarray | None
    """Timesteps played before each evaluation; None where none are logged."""
    value_E: np.ndarray


def curves_of(group: Group, metric: str) -> list[Curve]:
    """A curve of each run. Raises LaminaError for a run whose log is missing, damaged, or holds no evaluation."""
    return [curve_of(run, name, metric) for name, run in group.runs.items()]


def curve_of(run: Run, name: str, metric: str) -> Curve:
    """What metrics.jsonl tells of `run`; see `curves_of`."""
    path = run.folder / "metrics.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        train = [(row["step"], row[PLAYED]) for row in rows if row["part"] == "train" and row.get(PLAYED) is not None]
        valid = [(row["step"], row[metric]) for row in rows if row["part"] == "valid" and row.get(metric) is not None]
        step_R, played_R = np.array(train, float).reshape(-1, 2).T
        step_E, value_E = np.array(valid, float).reshape(-1, 2).T
    except FileNotFoundError:
        raise LaminaError(f"--curves: expected metrics.jsonl, the log of a training, in {run.folder}; there is none") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LaminaError(f"{path}: expected the rows that training wrote; {type(error).__name__}: {error}") from error
    if not len(step_E):
        raise LaminaError(f"--curves: expected {metric} on validation in {path}; {name} was never evaluated while it trained")
    return Curve(step_E, np.interp(step_E, step_R, played_R) if len(step_R) else None, value_E)


def at_last(x_E: np.ndarray, value_E: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points in order. Of evaluations at the same place the last stands: several updates may learn from the same play."""
    last = np.append(np.diff(x_E) > 0, True)
    return x_E[last], value_E[last]


def together(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """The places (E,) that all `curves` reach, and the values (N, E) of each there; between two evaluations a straight line."""
    start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    x_E = np.unique(np.concatenate([x for x, _ in curves]))
    x_E = x_E[(start <= x_E) & (x_E <= end)]
    return x_E, np.array([np.interp(x_E, x, value) for x, value in curves])


def band(values_NE: np.ndarray, resamples: int, confidence: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap interval of the IQM at each place (E,); the same runs are drawn at all of them."""
    rows_RN = drawn_again(len(values_NE), resamples, seed, 0)
    ends = [bounds(iqm(values_N[rows_RN]), confidence) for values_N in values_NE.T]
    low_E, high_E = np.array(ends).reshape(-1, 2).T
    return low_E, high_E


def draw(
    contenders: Sequence[tuple[Group, Sequence[Curve]]],
    metric: str,
    path: Path,
    resamples: int,
    confidence: float,
    seed: int,
) -> Path:
    """One strong line a contender, the IQM over its runs, with its band from 3 runs on; thin lines for the runs themselves."""
    from matplotlib.ticker import EngFormatter

    agents = all(curve.played_E is not None for _, curves in contenders for curve in curves)
    most = max(len(curves) for _, curves in contenders)
    picture, (axes,) = new_figure(7.5, 4.4 + 0.22 * len(contenders))
    for place, (group, curves) in enumerate(contenders):
        color = COLORS[place % len(COLORS)]
        lines = [at_last(c.played_E if agents and c.played_E is not None else c.step_E, c.value_E) for c in curves]
        told = 0 < len(group.settings) <= LEGEND
        label = f"{group.name} ({group.differs})" if told else group.name
        if len(lines) == 1:
            axes.plot(*lines[0], color=color, linewidth=2, marker="o", markersize=3, label=f"{label}, one run")
            continue
        for x_E, value_E in lines:
            axes.plot(x_E, value_E, color=color, linewidth=0.8, alpha=0.4)
        x_E, values_NE = together(lines)
        if len(lines) >= LEAST_RUNS and resamples:
            low_E, high_E = band(values_NE, resamples, confidence, seed)
            axes.fill_between(x_E, low_E, high_E, color=color, alpha=0.18, linewidth=0)
        shown = "IQM" if len(lines) >= 4 else "mean"  # of fewer they are the same
        axes.plot(x_E, iqm(values_NE.T), color=color, linewidth=2.2, label=f"{label}, {shown} of {len(lines)} runs")
    axes.set_xlabel("environment steps (timesteps)" if agents else "optimizer steps")
    axes.set_ylabel(f"{metric} on validation")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlim(left=0)
    axes.margins(x=0.02)
    picture.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=1 if len(contenders) < 4 else 2)
    if most >= LEAST_RUNS and resamples:
        words = f"band: {100 * confidence:g}% bootstrap interval over runs; thin: single runs"
        axes.set_title(words, fontsize=9, color="#4b5563", loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    return save(picture, path)
