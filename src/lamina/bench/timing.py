"""Timing several functions in turns, so that whatever else the machine does falls on all of them alike.

Intervals of quantiles are distribution-free, from order statistics (David and Nagaraja, Order Statistics, 2003, section 7.1):
the rank of the quantile q among N independent values is binomial(N, q).

Legend: N timed calls, R rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lamina.verdict import Figure, figure

WARM_UP = 3
"""Calls before each turn that are not timed: caches and branch predictors speak of the variant before."""
REST = 0.03
"""Seconds before each turn: the threads of PyTorch and of ONNX Runtime spin for some milliseconds after a call, and would
take the cores from whoever comes next."""


def in_turns(
    calls: Mapping[str, Callable[[], object]],
    count: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, list[list[float]]]:
    """Seconds of `count` calls of each function, in `rounds` turns (A B C, B C A, ...): {name: R lists}."""
    taken: dict[str, list[list[float]]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            time.sleep(REST)
            for _ in range(WARM_UP):
                calls[name]()
            seconds = []
            for _ in range(max(1, count // rounds)):
                began = clock()
                calls[name]()
                seconds.append(clock() - began)
            taken[name].append(seconds)
            advance(len(seconds))
    return taken


def quantile(values_N: Sequence[float], q: float, confidence: float = 0.95) -> Figure:
    """The quantile `q` of `values_N` with its interval; a bound beyond the greatest or least value is that value."""
    from scipy.stats import binom

    ordered_N = np.sort(np.asarray(values_N, dtype=np.float64))
    if not len(ordered_N):
        return figure(None)
    tail = (1 - confidence) / 2
    low, high = binom.ppf([tail, 1 - tail], len(ordered_N), q).astype(int)
    last = len(ordered_N) - 1
    value = float(np.quantile(ordered_N, q))
    # the rank-th smallest, counted from one, bounds from below; the one after the upper rank from above
    return figure(value, min(value, float(ordered_N[max(low - 1, 0)])), max(value, float(ordered_N[min(high, last)])))


def ratio(mine: Sequence[Sequence[float]], first: Sequence[Sequence[float]], confidence: float = 0.95) -> Figure:
    """The median over rounds of (median of mine / median of the first's), with its interval. Both are R lists."""
    ratios = [float(np.median(a) / np.median(b)) for a, b in zip(mine, first, strict=True)]
    return quantile(ratios, 0.5, confidence)
