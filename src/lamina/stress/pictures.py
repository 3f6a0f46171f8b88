"""Drawing: the reliability diagram, and the groups beside one another. Curves are .svg."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lamina.drawing import new_figure, save
from lamina.stress.calibration import BINS, bin_numbers, binned

MOST_GROUPS = 20


def reliability(said: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path) -> Path:
    """Accuracy over confidence in 15 bins, one line for each (how sure (N,), right or not (N,)); the diagonal is perfect."""
    drawn = new_figure(6, 4.5)
    axes = drawn.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--", label="perfect")
    for name, (sure_N, right_N) in said.items():
        made = binned(sure_N, right_N, bin_numbers(sure_N))
        some = made.count_M > 0
        (line,) = axes.plot(made.confidence_M[some], made.accuracy_M[some], linewidth=1.5, label=name)
        sizes = 8 + 150 * made.count_M[some] / made.count_M.max()
        axes.scatter(made.confidence_M[some], made.accuracy_M[some], s=sizes, color=line.get_color(), alpha=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="how sure it is", ylabel=f"how often it is right, in {BINS} bins")
    axes.legend(loc="upper left", frameon=False)
    save(drawn, path)
    return path


def groups(rows: Sequence[Mapping[str, Any]], overall: float, measure: str, path: Path) -> Path:
    """The worst groups as intervals (`group`, `value`, `low`, `high`), the value of all examples as a line."""
    shown = list(rows)[:MOST_GROUPS][::-1]
    drawn = new_figure(7, 1.2 + 0.28 * len(shown))
    axes = drawn.subplots()
    places = np.arange(len(shown))
    values = np.asarray([row["value"] for row in shown])
    ends = np.asarray([[row["value"] - row["low"], row["high"] - row["value"]] for row in shown]).T
    axes.errorbar(values, places, xerr=np.maximum(ends, 0), fmt="o", capsize=3, markersize=4)
    axes.axvline(overall, color="0.6", linewidth=1, linestyle="--")
    axes.set_yticks(places, [f"{row['group']} ({row['examples']:,})" for row in shown], fontsize=8)
    axes.set(xlabel=f"{measure} (dashed: all examples)")
    save(drawn, path)
    return path
