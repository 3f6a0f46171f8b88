"""The part of `stress` about mistakes that cost differently: answer what is expected to cost least.

With calibrated probabilities the answer j of least sum_i p_i C[i, j] is the best there is (Elkan 2001, equation 1). For two
classes that is a threshold: say positive where p >= c_fp / (c_fp + c_fn) (equation 2, where right answers cost nothing).

Shapes: N examples, K classes; C[i, j] is the cost of answering j where i is true.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from lamina.errors import LaminaError
from lamina.stress.held import Held
from lamina.stress.intervals import mean_interval
from lamina.stress.settings import Settings, false_positive_and_negative
from lamina.verdict import Verdict, figure


def costs_part(held: Held, settings: Settings) -> Verdict:
    """The mean cost of an answer: of the most probable class, and of the class of least expected cost."""
    if settings.costs is None:
        return Verdict("stress", (), {}, skipped={"costs": "no costs were named (--costs 1,10 or a .csv file)"})
    if held.test.kind != "class":
        return Verdict("stress", (), {}, skipped={"costs": "only answers that are one of several classes have a cost matrix"})
    test = held.test
    assert test.truth_N is not None
    cost_KK = matrix(settings.costs, test.names)
    p_NK = test.p_NK
    before_N = cost_KK[test.truth_N, p_NK.argmax(1)]
    chosen_N = cheapest(p_NK, cost_KK)
    after_N = cost_KK[test.truth_N, chosen_N]
    saved = mean_interval(before_N - after_N, settings.confidence)
    figures = {
        "cost_most_probable": figure(float(before_N.mean()), *mean_interval(before_N, settings.confidence)),
        "cost_least_expected": figure(float(after_N.mean()), *mean_interval(after_N, settings.confidence)),
        "cost_saved": figure(float((before_N - after_N).mean()), *saved),
    }
    how = "answering what is expected to cost least"
    if len(test.names) == 2 and not np.diag(cost_KK).any():
        cut = threshold(cost_KK)
        figures["threshold"] = figure(cut)
        how = f"answering {test.names[1]!r} where its probability is {cut:.3g} or more"
    said = (
        f"Answering the most probable class costs {before_N.mean():.4g} an answer; {how} costs {after_N.mean():.4g} "
        f"(a difference of {saved[0]:.4g} to {saved[1]:.4g})."
    )
    warnings = ("the saving may be chance: its interval reaches below zero",) if saved[0] <= 0 else ()
    return Verdict("stress", (said,), figures, warnings=warnings)


def cheapest(p_NK: np.ndarray, cost_KK: np.ndarray) -> np.ndarray:
    """The class of least expected cost (N,)."""
    return (p_NK @ cost_KK).argmin(1)


def threshold(cost_KK: np.ndarray) -> float:
    """The probability of the second of two classes from which answering it costs less (Elkan 2001, equation 2)."""
    return float(cost_KK[0, 1] / (cost_KK[0, 1] + cost_KK[1, 0]))


def matrix(costs: str, names: tuple[str, ...]) -> np.ndarray:
    """C (K, K) from `FALSE-POSITIVE,FALSE-NEGATIVE` (the second class is the positive one) or a .csv file.

    The file has the names of the answers in its first row, and the true class in the first cell of every other.
    Raises LaminaError where it does not.
    """
    if not costs.endswith(".csv"):
        false_positive, false_negative = false_positive_and_negative(costs)
        if len(names) != 2:
            raise LaminaError(f"--costs: expected a .csv file, for there are {len(names)} classes; two numbers fit two classes")
        return np.asarray([[0, false_positive], [false_negative, 0]], dtype=np.float64)
    with Path(costs).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    answers = [cell.strip() for cell in rows[0][1:]] if rows else []
    truths = [row[0].strip() for row in rows[1:]]
    if sorted(answers) != sorted(names) or sorted(truths) != sorted(names):
        raise LaminaError(
            f"--costs: {costs}: expected the classes {', '.join(names)} as header and as first column; got {answers}, {truths}"
        )
    made = np.zeros((len(names), len(names)))
    for truth, row in zip(truths, rows[1:], strict=True):
        for answer, cell in zip(answers, row[1:], strict=False):
            try:
                value = float(cell)
            except ValueError as error:
                raise LaminaError(f"--costs: {costs}: true {truth}, answer {answer}: expected a number; got {cell!r}") from error
            if not 0 <= value < float("inf"):
                raise LaminaError(f"--costs: {costs}: true {truth}, answer {answer}: expected 0 or more; got {cell}")
            made[names.index(truth), names.index(answer)] = value
    return made
