"""One run against another, on the same examples: which of two models is better, or is it chance?

The difference of the headline metric is resampled with both runs judged on the same draws (the paired bootstrap:
Efron and Tibshirani, An Introduction to the Bootstrap, 1993; Koehn, Statistical Significance Tests for Machine
Translation Evaluation, 2004). Where more than two runs are compared, p-values are corrected by Holm (A Simple
Sequentially Rejective Multiple Test Procedure, 1979). Where answers are labels, McNemar's exact test (Note on the
sampling error of the difference between correlated proportions, 1947) looks at the examples on which two runs differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lamina.errors import LaminaError

if TYPE_CHECKING:
    import numpy as np

    from lamina.evaluate import Evaluation

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class McNemar:
    """How often two runs are right and wrong on the same examples. `p_value`: were they equally often right?"""

    both: int
    only_a: int
    only_b: int
    neither: int
    p_value: float


@dataclass(frozen=True)
class Pair:
    """Run `a` against run `b` in the headline metric: `difference` is a's value minus b's."""

    a: str
    b: str
    metric: str
    difference: float
    low: float
    high: float
    p_value: float
    p_adjusted: float
    """Holm-corrected for the number of pairs; the same as `p_value` where there is one pair."""
    verdict: str
    mcnemar: McNemar | None = None


def points(evaluations: Any, metric: str, direction: str) -> bool:
    """Is the metric a share of one, such as accuracy, whose differences are told in points of a hundred?"""
    values = [v for evaluation in evaluations for v in evaluation.metrics[metric].values()]
    return direction == "max" and all(v is not None and 0 <= v <= 1 for v in values)


def paired(a: str, b: str, one: Evaluation, two: Evaluation, metric: str, direction: str, confidence: float) -> Pair:
    """The difference with its interval and its p-value, not yet corrected nor put into words."""
    import numpy as np

    values = one.metrics[metric]["value"], two.metrics[metric]["value"]
    if values[0] is None or values[1] is None:
        raise LaminaError(
            f"compare: expected {metric} to be a number for every run; it is none for {a if values[0] is None else b}"
        )
    difference = values[0] - values[1]
    draws = min(one.resamples, two.resamples)  # slow metrics may have been resampled fewer times for one of them
    if not draws:
        return Pair(a, b, metric, difference, difference, difference, 1.0, 1.0, "", mcnemar_of(one, two))
    drawn = one.draws[metric][:draws] - two.draws[metric][:draws]
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Pair(a, b, metric, difference, float(low), float(high), two_sided(drawn), 1.0, "", mcnemar_of(one, two))


def two_sided(drawn: np.ndarray) -> float:
    """The p-value of no difference: twice the share of resampled differences (R,) on the rarer side of zero.

    It counts the data themselves as one more draw (Davison and Hinkley, Bootstrap Methods and their Application,
    1997, section 4.2), so that it is never zero; and it agrees with the percentile interval about significance.
    """
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(drawn) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    worst = 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = worst
    return adjusted


def corrected(pairs: Sequence[Pair], direction: str, in_points: bool, confidence: float) -> list[Pair]:
    """The pairs with their corrected p-values and their verdicts in words."""
    from dataclasses import replace

    adjusted = holm([pair.p_value for pair in pairs])
    made = [replace(pair, p_adjusted=p) for pair, p in zip(pairs, adjusted, strict=True)]
    return [replace(pair, verdict=verdict(pair, direction, in_points, confidence, len(pairs))) for pair in made]


def verdict(pair: Pair, direction: str, in_points: bool, confidence: float, pairs: int) -> str:
    """The outcome in one sentence, told from the better run's side."""
    sign = 1 if (pair.difference >= 0) == (direction == "max") else -1
    better, worse = (pair.a, pair.b) if sign > 0 else (pair.b, pair.a)
    turned = sign if direction == "max" else -sign
    low, high = sorted((turned * pair.low, turned * pair.high))
    scale = 100 if in_points else 1

    def told(value: float) -> str:
        return f"{scale * value:.1f}" if in_points else f"{value:.4g}"

    unit = f"points of {pair.metric}" if in_points else f"in {pair.metric}"
    percent = f"{100 * confidence:g}%"
    if pair.p_adjusted < SIGNIFICANT:
        return (
            f"{better} is better than {worse} by {told(abs(pair.difference))} {unit} "
            f"({percent} interval {told(low)} to {told(high)}): more than chance"
        )
    after = " after correcting for several comparisons" if pairs > 1 and pair.p_value < SIGNIFICANT else ""
    return (
        f"no significant difference between {pair.a} and {pair.b}{after}: {told(abs(pair.difference))} {unit} "
        f"in favour of {better} "
        f"({percent} interval {told(low)} to {told(high)})"
        if pair.difference
        else f"no difference between {pair.a} and {pair.b} in {pair.metric}"
    )


def mcnemar_of(one: Evaluation, two: Evaluation) -> McNemar | None:
    """The table of right and wrong, where the answers of both are labels and the column of the truth is known."""
    right = rightness(one), rightness(two)
    return None if right[0] is None or right[1] is None else mcnemar(right[0], right[1])


def rightness(evaluation: Evaluation) -> np.ndarray | None:
    """Which answers are right (N,). None where answers carry no `label`, or no single column of the examples holds such labels.

    The truth is the column `label`, or the only column that shares values with the answers and makes the accuracy
    what the task says it is.
    """
    import numpy as np

    said = evaluation.predictions.get("label")
    if said is None:
        return None
    answers = np.asarray([str(value) for value in said])
    accuracy = evaluation.metrics.get("accuracy", {}).get("value")
    names = ["label"] if "label" in evaluation.examples else list(evaluation.examples)
    found = []
    for name in names:
        column = evaluation.examples[name]
        if not isinstance(column[0], (str, int, np.str_, np.integer)):
            continue
        right = np.asarray([str(value) for value in column]) == answers
        if right.any() if accuracy is None else abs(right.mean() - accuracy) < 1e-9:
            found.append(right)
    return found[0] if len(found) == 1 else None


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> McNemar:
    """McNemar's exact test, two-sided, over correctness (N,) of two runs: a fair coin decides each discordant example."""
    only_a = int((right_a & ~right_b).sum())
    only_b = int((~right_a & right_b).sum())
    both = int((right_a & right_b).sum())
    return McNemar(both, only_a, only_b, len(right_a) - both - only_a - only_b, sign_test(only_a, only_b))


def sign_test(a: int, b: int) -> float:
    """The exact two-sided binomial test of a fair coin that fell a and b times; in logarithms, since 2**n overflows."""
    total = a + b
    constant = math.lgamma(total + 1) - total * math.log(2)
    logs = [constant - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(min(a, b) + 1)]
    top = max(logs)
    return min(1.0, 2 * math.exp(top) * math.fsum(math.exp(value - top) for value in logs))
