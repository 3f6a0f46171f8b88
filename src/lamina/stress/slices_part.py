"""The part of `stress` about groups: where the model is worse than elsewhere by more than chance.

Each group is compared with all other examples, one-sided: Fisher's exact test where an answer is right or wrong, Welch's
t-test of errors or losses otherwise. Looking at many groups finds bad ones by chance alone, so p-values are corrected by
Holm's method (1979) over every group that was looked at.

Shapes: N examples, G groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.answer import EVALUATION_BATCH
from lamina.data.columns import take
from lamina.stress.groups import Groups, groups_of
from lamina.stress.held import Held
from lamina.stress.intervals import mean_interval, wilson
from lamina.stress.pictures import groups as drawn_groups
from lamina.stress.settings import Settings
from lamina.task import Batch
from lamina.verdict import Verdict, figure

LEAST = 30
"""Examples in a group, at least."""
LEVEL = 0.05
SHOWN, SHOWN_OF_CHANCE = 20, 5
"""Rows of the table: groups that are worse, and after them some that chance explains."""
MEASURES = {"class": "share of wrong answers", "number": "mean absolute error", "other": "mean loss"}


def slices_part(held: Held, settings: Settings) -> Verdict:
    """The groups where it is worst, and in words the worst that chance does not explain."""
    if not settings.slices:
        return Verdict("stress", skipped={"slices": "not asked for (--no-slices)"})
    test = held.test
    error_N = test.error_N
    if error_N is None or len(test) < 2 * LEAST:
        return Verdict("stress", skipped={"slices": f"groups need {2 * LEAST} labelled examples; there are {len(test)}"})
    groups = groups_of(held.run.task, test, first_input(held), LEAST, settings.seed)
    if not groups:
        return Verdict("stress", skipped={"slices": f"no group holds {LEAST} examples and fewer than all"})
    rows = ranked(error_N, groups, test.kind == "class", settings.confidence)
    overall, measure = float(error_N.mean()), MEASURES[test.kind]
    real = [row for row in rows if row["p_holm"] < LEVEL]
    worst = max(real, key=lambda row: row["value"]) if real else None
    chance = [row for row in rows if row["p_holm"] >= LEVEL][:SHOWN_OF_CHANCE]
    shown = [*sorted(real, key=lambda row: -row["value"]), *chance][:SHOWN]
    figures = {"slices_looked_at": figure(len(rows)), "slices_worse": figure(len(real))}
    if worst:
        figures["worst_slice_error"] = figure(worst["value"], worst["low"], worst["high"])
    picture = held.run.pictures("stress") / "slices.svg"
    drawn_groups(shown, overall, measure, picture)
    return Verdict(
        "stress",
        (sentence(worst, len(rows), overall, measure, test.kind == "class"),),
        figures,
        tables={"slices": shown},
        pictures={"slices": picture},
        details={"worst_slice": worst["group"] if worst else None},
    )


def first_input(held: Held) -> Batch | None:
    """The encoded first input of the test examples, where it is a picture or a text."""
    task, columns = held.run.task, held.test.columns
    spec = task.inputs[0]
    if spec.modality not in ("image", "text"):
        return None
    parts = []
    for start in range(0, len(held.test), EVALUATION_BATCH):
        rows = take(columns, np.arange(start, min(start + EVALUATION_BATCH, len(held.test))))
        parts.append(
            task.encode({name: column for name, column in rows.items() if name in task.asks}, "predict")[spec.name].numpy()
        )
    if spec.modality == "text":  # batches of other lengths
        longest = max(part.shape[1] for part in parts)
        parts = [np.pad(part, ((0, 0), (0, longest - part.shape[1]))) for part in parts]
    return {spec.name: np.concatenate(parts)}  # type: ignore[dict-item]


def ranked(error_N: np.ndarray, groups: Groups, binary: bool, confidence: float) -> list[dict[str, Any]]:
    """A row for each group: its mean error with an interval, that of the others, and p-values; the least p first."""
    rows = []
    for name, inside_N in groups.items():
        here_N, others_N = error_N[inside_N], error_N[~inside_N]
        low, high = wilson(here_N.sum(), len(here_N), confidence) if binary else mean_interval(here_N, confidence)
        rows.append({"group": name, "examples": len(here_N), "value": float(here_N.mean()), "low": low, "high": high,
                     "others": float(others_N.mean()), "p": worse(here_N, others_N, binary)})  # fmt: skip
    rows.sort(key=lambda row: row["p"])
    for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return rows


def worse(here_N: np.ndarray, others_N: np.ndarray, binary: bool) -> float:
    """The chance of errors here as large as these, or larger, if the group were no worse than the others."""
    from scipy import stats

    if binary:
        wrong_here, wrong = int(here_N.sum()), int(here_N.sum() + others_N.sum())
        return float(stats.hypergeom.sf(wrong_here - 1, len(here_N) + len(others_N), wrong, len(here_N)))
    if here_N.std() == 0 and others_N.std() == 0:
        return 0.0 if here_N.mean() > others_N.mean() else 1.0
    tested: Any = stats.ttest_ind(here_N, others_N, equal_var=False, alternative="greater")
    return float(tested.pvalue)


def holm(sorted_p: list[float]) -> list[float]:
    """Holm's correction of p-values in ascending order."""
    corrected, highest = [], 0.0
    for place, p in enumerate(sorted_p):
        highest = max(highest, min(1.0, p * (len(sorted_p) - place)))
        corrected.append(highest)
    return corrected


def sentence(worst: dict[str, Any] | None, looked_at: int, overall: float, measure: str, binary: bool) -> str:
    """The worst group in words."""
    shown = (lambda x: f"{x:.1%}") if binary else (lambda x: f"{x:.4g}")
    if worst is None:
        return f"Of {looked_at} groups of examples none is worse than the rest by more than chance ({measure}: {shown(overall)})."
    here = f"{shown(worst['value'])} ({shown(worst['low'])} to {shown(worst['high'])})"
    return (
        f"It is worst where {worst['group']}: {measure} {here}, beside {shown(worst['others'])} elsewhere "
        f"({worst['examples']:,} examples; of {looked_at} groups looked at)."
    )
