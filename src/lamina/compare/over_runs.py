"""What runs that differ in the seed alone say together: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (the reference implementation is rliable).

The interquartile mean (IQM) leaves out the best and the worst quarter of the runs: less moved by one lucky run than the mean,
less wasteful than the median. Its interval is the percentile bootstrap over runs, drawn within each contender (the strata of the
paper, which are one task here, since runs are compared on the same examples). Whether one contender is better than another is
judged by the probability of improvement, P(X > Y), and the exact Mann-Whitney test (On a Test of Whether one of Two Random
Variables is Stochastically Larger than the Other, 1947), which unlike a bootstrap does not take three runs for many.

Shapes: N and M runs, R resamples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lamina.compare.paired import SIGNIFICANT, holm
from lamina.errors import LaminaError

if TYPE_CHECKING:
    import numpy as np

    from lamina.compare.contenders import Group
    from lamina.evaluate import Evaluation

LEAST_RUNS = 3
"""Fewer have no interval: two runs, drawn again, are the same two."""
FEW_RUNS = 5
"""Of fewer, a bootstrap interval is far too narrow: of 3 runs, a 95% one holds the truth 74 times in 100, of 4 86, of 5 89,
of 10 94 (`tests/test_compare_seeds.py`)."""
ARRANGEMENTS = 20_000
"""Up to so many ways to deal the ranks are all counted; of more, so many are drawn."""


@dataclass(frozen=True)
class Contender:
    """Runs that differ in the seed alone, by the headline metric."""

    name: str
    runs: int
    metric: str
    values: dict[str, float]
    """The value of each run by name."""
    seeds: dict[str, int | None]
    mean: float
    iqm: float
    """The interquartile mean; of fewer than 4 runs nothing is left out, and it is the mean."""
    low: float | None
    high: float | None
    """The interval of `iqm`; None for fewer than 3 runs."""
    settings: dict[str, object]
    """Where it differs from the other contenders."""
    differs: str
    """`settings` in words."""


@dataclass(frozen=True)
class Contest:
    """Contender `a` against contender `b`: `difference` is the IQM of a minus that of b. Bounds are None where either has fewer
    than 3 runs."""

    a: str
    b: str
    metric: str
    difference: float
    low: float | None
    high: float | None
    probability_of_improvement: float
    """That a run of a is better than one of b."""
    probability_low: float | None
    probability_high: float | None
    p_value: float
    """Mann-Whitney, exact, two-sided."""
    p_adjusted: float
    """Holm-corrected for the number of contests."""
    verdict: str


def iqm(values_N: np.ndarray) -> np.ndarray:
    """The interquartile mean along the last axis: a quarter of the values, rounded down, is left out on either side."""
    import numpy as np

    count = values_N.shape[-1]
    cut = count // 4
    return np.sort(values_N, -1)[..., cut : count - cut].mean(-1)


def drawn_again(count: int, resamples: int, seed: int, stratum: int) -> np.ndarray:
    """Which of `count` runs are taken in each bootstrap draw (R, N); every stratum has draws of its own."""
    import numpy as np

    return np.random.default_rng((seed, stratum)).integers(0, count, (resamples, count))


def bounds(draws_R: np.ndarray, confidence: float) -> tuple[float, float]:
    """The percentile interval."""
    import numpy as np

    low, high = np.quantile(draws_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def contender_of(
    group: Group, evaluations: Mapping[str, Evaluation], metric: str, resamples: int, confidence: float, seed: int
) -> Contender:
    """The runs of `group` taken together. Raises LaminaError where the metric of one is no number."""
    import numpy as np

    values: dict[str, float] = {}
    for name in group.runs:
        value = evaluations[name].metrics[metric]["value"]
        if value is None:
            raise LaminaError(f"compare: expected {metric} to be a number for every run; it is none for {name}")
        values[name] = value
    value_N = np.array(list(values.values()))
    low, high = None, None
    if len(value_N) >= LEAST_RUNS and resamples:
        low, high = bounds(iqm(value_N[drawn_again(len(value_N), resamples, seed, 0)]), confidence)
    seeds = {name: run.info.get("seed") for name, run in group.runs.items()}
    return Contender(
        group.name, len(values), metric, values, seeds, float(value_N.mean()), float(iqm(value_N)), low, high,
        dict(group.settings), group.differs,
    )  # fmt: skip


def contests_of(
    contenders: Sequence[Contender], direction: str, in_points: bool, resamples: int, confidence: float, seed: int
) -> list[Contest]:
    """Every two contenders, with corrected p-values and verdicts in words. in_points: the metric is a share of one."""
    made = [contest(a, b, direction, resamples, confidence, seed) for a, b in itertools.combinations(contenders, 2)]
    adjusted = holm([one.p_value for one in made])
    made = [replace(one, p_adjusted=p) for one, p in zip(made, adjusted, strict=True)]
    counts = {contender.name: contender.runs for contender in contenders}
    return [replace(one, verdict=said(one, direction, in_points, confidence, counts, len(made))) for one in made]


def contest(a: Contender, b: Contender, direction: str, resamples: int, confidence: float, seed: int) -> Contest:
    """Not yet corrected nor put into words."""
    import numpy as np

    x_N, y_M = (np.array(list(one.values.values())) for one in (a, b))
    sign = 1 if direction == "max" else -1
    low, high, least, most = None, None, None, None
    if min(len(x_N), len(y_M)) >= LEAST_RUNS and resamples:
        x_RN, y_RM = x_N[drawn_again(len(x_N), resamples, seed, 0)], y_M[drawn_again(len(y_M), resamples, seed, 1)]
        better_R = probability_of_improvement(sign * x_RN, sign * y_RM)
        (low, high), (least, most) = bounds(iqm(x_RN) - iqm(y_RM), confidence), bounds(better_R, confidence)
    better = float(probability_of_improvement(sign * x_N, sign * y_M))
    p_value = mann_whitney(x_N, y_M)
    return Contest(a.name, b.name, a.metric, a.iqm - b.iqm, low, high, better, least, most, p_value, p_value, "")


def probability_of_improvement(x_N: np.ndarray, y_M: np.ndarray) -> np.ndarray:
    """P(X > Y), ties counted as half (section 4.3 of the paper): of all pairs of runs, the share in which x is greater.

    Leading axes are those of draws. It is the statistic U of Mann and Whitney over N * M.
    """
    import numpy as np

    return (0.5 * (1 + np.sign(x_N[..., :, None] - y_M[..., None, :]))).mean((-2, -1))


def mann_whitney(x_N: np.ndarray, y_M: np.ndarray) -> float:
    """The two-sided p-value of the same distribution: the share of all ways to deal the values, each as probable, whose U lies
    as far from its mean, ties included. Beyond 20,000 ways as many are drawn, always the same."""
    import numpy as np
    from scipy.stats import rankdata

    rank = rankdata(np.concatenate([x_N, y_M]))
    count, taken = len(rank), len(x_N)
    centre = taken * (count + 1) / 2
    far = abs(rank[:taken].sum() - centre) - 1e-9
    if math.comb(count, taken) <= ARRANGEMENTS:
        dealt = np.array(list(itertools.combinations(range(count), taken)))
        return float((np.abs(rank[dealt].sum(1) - centre) >= far).mean())
    dealt = np.random.default_rng(0).permuted(np.tile(rank, (ARRANGEMENTS, 1)), axis=1)[:, :taken]
    return float(((np.abs(dealt.sum(1) - centre) >= far).sum() + 1) / (ARRANGEMENTS + 1))


def least_p_value(runs: int, others: int) -> float:
    """What the exact test of so many runs says where all of one contender are better than all of the other."""
    return min(1.0, 2 / math.comb(runs + others, runs))


def said(one: Contest, direction: str, in_points: bool, confidence: float, counts: Mapping[str, int], contests: int) -> str:
    """The outcome in one sentence, told from the better contender's side."""
    if not one.difference and one.probability_of_improvement == 0.5:
        return f"no difference between {one.a} and {one.b} in {one.metric}"
    ahead = one.probability_of_improvement - 0.5 or (one.difference if direction == "max" else -one.difference)
    sign = 1 if ahead > 0 else -1
    better, worse = (one.a, one.b) if sign > 0 else (one.b, one.a)
    turned = sign if direction == "max" else -sign
    scale = 100 if in_points else 1

    def told(value: float) -> str:
        return f"{scale * value:.1f}" if in_points else f"{value:.4g}"

    unit = f"points in the IQM of {one.metric}" if in_points else f"in the IQM of {one.metric}"
    between = "too few runs for an interval"
    if one.low is not None and one.high is not None:
        low, high = sorted((turned * one.low, turned * one.high))
        between = f"{100 * confidence:g}% interval {told(low)} to {told(high)}"
    share = one.probability_of_improvement if sign > 0 else 1 - one.probability_of_improvement
    how = f"{told(turned * one.difference)} {unit} ({between}; probability of improvement {share:.2f}, p = {one.p_adjusted:.2g})"
    if one.p_adjusted < SIGNIFICANT:
        return f"{better} is better than {worse} by {how}: more than chance"
    least = min(1.0, least_p_value(counts[one.a], counts[one.b]) * contests)
    runs = f"{counts[one.a]} and {counts[one.b]} runs"
    few = f"; {runs} cannot show one: p would be {least:.2g} at least" if least >= SIGNIFICANT else ""
    return f"no significant difference between {one.a} and {one.b}: {how.replace(' (', f' in favour of {better} (', 1)}{few}"
