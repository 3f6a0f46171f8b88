"""What people see of a comparison: tables, then the verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamina.compare.over_runs import FEW_RUNS, LEAST_RUNS
from lamina.terminal import figure, print_table

if TYPE_CHECKING:
    from lamina.compare import Comparison
    from lamina.compare.paired import Pair


def print_comparison(comparison: Comparison) -> None:
    """Tables for people: the metrics of every run, then every pair, then the verdicts. Where runs differ in the seed alone,
    contenders stand in place of runs."""
    if comparison.contenders:
        print_contenders(comparison)
        alone = {contender.name for contender in comparison.contenders if contender.runs == 1}
        pairs = [pair for pair in comparison.pairs if pair.a in alone and pair.b in alone]
    else:
        print_metrics(comparison)
        pairs = comparison.pairs
    if pairs:
        print_pairs(pairs)


def cell(value: dict[str, float | None]) -> str:
    return f"{figure(value['value'])} ({figure(value['low'])} to {figure(value['high'])})"


def print_metrics(comparison: Comparison) -> None:
    """Every metric of every run."""
    first = next(iter(comparison.evaluations.values()))
    names = list(comparison.evaluations)
    nothing: dict[str, float | None] = {"value": None, "low": None, "high": None}
    rows = [
        [metric, *[cell(comparison.evaluations[name].metrics.get(metric, nothing)) for name in names]] for metric in first.metrics
    ]
    if len(names) > 3:  # many runs fit better downwards
        metric = comparison.pairs[0].metric
        headers, rows = ["run", metric], [[name, cell(comparison.evaluations[name].metrics[metric])] for name in names]
    else:
        headers = ["metric", *names]
    print_table(headers, rows, f"{comparison.count:,} examples of {comparison.part}")


def print_pairs(pairs: Sequence[Pair]) -> None:
    """Every pair of runs, and in words which is better."""
    corrected_header = ["p (Holm)"] if len(pairs) > 1 else []
    pair_rows = [
        [f"{p.a} - {p.b}", p.difference, p.low, p.high, figure(p.p_value), *([figure(p.p_adjusted)] if corrected_header else [])]
        for p in pairs
    ]
    print_table([pairs[0].metric, "difference", "from", "to", "p", *corrected_header], pair_rows)
    tested = [(p, p.mcnemar) for p in pairs if p.mcnemar]
    if tested:
        rows = [[f"{p.a} - {p.b}", m.both, m.only_a, m.only_b, m.neither, figure(m.p_value)] for p, m in tested]
        print_table(["examples right", "both", "first only", "second only", "neither", "McNemar p"], rows)
    for pair in pairs:
        print(pair.verdict)


def between(low: float | None, high: float | None, runs: int) -> str:
    """An interval over runs, or why there is none."""
    if runs < LEAST_RUNS:
        return "too few runs"
    return "-" if low is None else f"{figure(low)} to {figure(high)}"


def print_contenders(comparison: Comparison) -> None:
    """Every run, then what the runs of each contender say together, then every two contenders."""
    contenders, metric = comparison.contenders, comparison.contenders[0].metric
    confidence = f"{100 * next(iter(comparison.evaluations.values())).confidence:g}%"
    rows = [
        [contender.name, name, str(seed) if seed is not None else "-", cell(comparison.evaluations[name].metrics[metric])]
        for contender in contenders
        for name, seed in contender.seeds.items()
    ]
    print_table(["contender", "run", "seed", metric], rows, f"{comparison.count:,} examples of {comparison.part}")
    rows = [[c.name, c.runs, c.mean, c.iqm, between(c.low, c.high, c.runs)] for c in contenders]
    print_table([metric, "runs", "mean", "IQM", f"{confidence} interval"], rows, "over the runs that differ in the seed alone")
    if comparison.contests:
        print_contests(comparison, confidence)
    for contender in contenders:
        if contender.differs:
            print(f"{contender.name}: {contender.differs}")
    for one in comparison.contests:
        print(one.verdict)
    few = min((c.runs for c in contenders if c.runs >= LEAST_RUNS), default=FEW_RUNS)
    if few < FEW_RUNS:
        print(f"an interval of {few} runs is too narrow: name {FEW_RUNS} or more, better 10")


def print_contests(comparison: Comparison, confidence: str) -> None:
    """Every two contenders: the difference of their IQMs, and how probable it is that a run of the first is better."""
    runs = {contender.name: contender.runs for contender in comparison.contenders}
    several, rows = len(comparison.contests) > 1, []
    for one in comparison.contests:
        least, probability = min(runs[one.a], runs[one.b]), figure(one.probability_of_improvement)
        if one.probability_low is not None:
            probability += f" ({between(one.probability_low, one.probability_high, least)})"
        row = [f"{one.a} - {one.b}", figure(one.difference), between(one.low, one.high, least), probability, figure(one.p_value)]
        rows.append([*row, figure(one.p_adjusted)] if several else row)
    metric, holm = comparison.contests[0].metric, ["p (Holm)"] if several else []
    print_table([metric, "IQM difference", f"{confidence} interval", "P(first is better)", "p", *holm], rows)
