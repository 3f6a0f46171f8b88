"""Is one run better than another, or is it chance? Runs are compared on the same examples.

Runs that differ in the seed alone are one contender (`contenders.py`): what is said of a method is said over all its runs,
since one run says as much about its seed (`over_runs.py`). Two runs are compared pair by pair of examples (`paired.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lamina.compare.contenders import Group, grouped
from lamina.compare.over_runs import Contender, Contest, contender_of, contests_of
from lamina.compare.paired import (
    McNemar,
    Pair,
    corrected,
    holm,
    mcnemar,
    paired,
    points,
    rightness,
    sign_test,
    two_sided,
    verdict,
)
from lamina.compare.tables import print_comparison
from lamina.errors import LaminaError
from lamina.evaluate import Evaluation, evaluate

if TYPE_CHECKING:
    from lamina.compare.curves import Curve
    from lamina.data.source import Data, Source
    from lamina.run import Run

__all__ = [
    "Comparison", "Contender", "Contest", "McNemar", "Pair", "compare", "holm", "mcnemar", "paired", "print_comparison",
    "rightness", "sign_test", "two_sided", "verdict",
]  # fmt: skip

RESAMPLES = 2000
"""More than for an interval alone: the least p-value that n resamples can show is 2 / (n + 1)."""


@dataclass(frozen=True)
class Comparison:
    """Several runs on the same examples."""

    evaluations: dict[str, Evaluation]
    pairs: list[Pair]
    """Every two runs: which of two models is better."""
    part: str
    count: int
    contenders: tuple[Contender, ...] = ()
    """Runs that differ in the seed alone, taken together; empty where every run is alone."""
    contests: tuple[Contest, ...] = ()
    """Every two contenders; empty where every run is alone."""
    curves: Path | None = None
    """The picture of the learning curves, where one was drawn."""

    def as_json(self) -> dict[str, Any]:
        """What `lamina compare --json` prints."""
        several = {"contenders": self.contenders, "contests": self.contests} if self.contenders else {}
        return {
            "runs": {name: evaluation.metrics for name, evaluation in self.evaluations.items()},
            "pairs": self.pairs,
            "part": self.part,
            "count": self.count,
            **several,
            **({"curves": self.curves} if self.curves else {}),
        }


def compare(
    runs: Sequence[Run],
    source: Source | Data | str | Path | None = None,
    part: str | None = None,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    batch_size: int | Literal["auto"] = "auto",
    seed: int = 0,
    device: str = "auto",
    precision: str | None = None,
    curves: str | Path | None = None,
) -> Comparison:
    """Evaluate `runs` on the same examples and say which differ by more than chance.

    Without a `source`, each run's own data is read again, and must be the same data, split the same way. `curves` is a .png or
    .svg file to draw the learning curves to.
    Raises LaminaError for fewer than two runs, runs whose examples differ, or runs of different headline metrics.
    """
    if len(runs) < 2:
        raise LaminaError(f"compare: expected two runs or more; got {len(runs)}")
    names = names_of(runs)
    metric, direction = runs[0].task.headline
    for run, name in zip(runs, names, strict=True):
        if run.task.headline != (metric, direction):
            raise LaminaError(
                f"compare: expected runs judged by the same metric; {names[0]} by {metric}, {name} by {run.task.headline[0]}"
            )
    groups = grouped(dict(zip(names, runs, strict=True)))
    logged = read_curves(groups, metric, Path(curves)) if curves is not None else []
    evaluations: dict[str, Evaluation] = {}
    for run, name in zip(runs, names, strict=True):
        made = evaluate(run, source, part, resamples, confidence, batch_size, None, seed, device, precision)
        first = next(iter(evaluations.values()), made)
        if (made.fingerprint, made.count) != (first.fingerprint, first.count):
            raise LaminaError(
                f"compare: expected runs with the same examples and split; {name} has others than {names[0]}: "
                "name a common test set with --data"
            )
        evaluations[name] = made
    pairs = [
        paired(a, b, evaluations[a], evaluations[b], metric, direction, confidence) for a, b in itertools.combinations(names, 2)
    ]
    first, in_points = evaluations[names[0]], points(evaluations.values(), metric, direction)
    several = any(len(group.runs) > 1 for group in groups)
    contenders = [contender_of(group, evaluations, metric, resamples, confidence, seed) for group in groups] if several else []
    picture = Path(curves) if curves is not None else None
    if picture is not None:
        from lamina.compare.curves import draw

        draw(logged, metric, picture, resamples, confidence, seed)
    return Comparison(
        evaluations,
        corrected(pairs, direction, in_points, confidence),
        first.part,
        first.count,
        tuple(contenders),
        tuple(contests_of(contenders, direction, in_points, resamples, confidence, seed)),
        picture,
    )


def read_curves(groups: Sequence[Group], metric: str, path: Path) -> list[tuple[Group, list[Curve]]]:
    """What is drawn to `path` in the end, read before anything is evaluated: what cannot be drawn is told at once."""
    from lamina.compare.curves import curves_of
    from lamina.train.options import expect_place

    if path.suffix not in (".png", ".svg"):
        raise LaminaError(f"--curves: expected a file that ends in .png or .svg; got {str(path)!r}")
    expect_place(path)
    return [(group, curves_of(group, metric)) for group in groups]


def names_of(runs: Sequence[Run]) -> list[str]:
    """Folder names, or whole paths where two folders share a name."""
    short = [run.folder.name for run in runs]
    names = short if len(set(short)) == len(short) else [str(run.folder) for run in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise LaminaError(f"compare: expected different runs; got {twice} twice")
    return names
