"""The part of `stress` about promises: sets of labels and intervals of numbers, and how often they really hold the truth.

Shapes: N examples, K classes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina.decode import conformal
from lamina.decode.known import unit
from lamina.stress.held import Held, sampled
from lamina.stress.intervals import mean_interval, wilson
from lamina.stress.said import Said, ask
from lamina.stress.settings import Settings
from lamina.verdict import Verdict, figure

NEIGHBOURS, TRAINING_EXAMPLES = 25, 5000
FLOOR = 0.1
"""Share of the mean difficulty that is added to each, so that no interval vanishes."""


def promises_part(held: Held, settings: Settings) -> Verdict:
    """Conformal sets (LAC, APS, RAPS) or intervals, calibrated on the calibration part and judged on the test part."""
    if not settings.promises:
        return Verdict("stress", (), {}, skipped={"promises": "not asked for (--no-promises)"})
    if held.fitting is None:
        return Verdict("stress", (), {}, skipped={"promises": "the data has fewer than 20 examples for calibration"})
    if held.test.kind == "class":
        return label_promises(held, held.fitting, settings)
    if held.test.kind == "number":
        return number_promises(held, held.fitting, settings)
    return Verdict("stress", (), {}, skipped={"promises": "answers are neither one of several classes nor one number"})


def label_promises(held: Held, fitting: Said, settings: Settings) -> Verdict:
    """Sets of labels. The cut of LAC is kept: its sets need no chance, and are the smallest on average."""
    test, p_NK = held.test, held.test.p_NK
    assert test.truth_N is not None and fitting.truth_N is not None
    rng = np.random.default_rng(settings.seed)
    u_fit, u_test = rng.random(len(fitting)), rng.random(len(test))
    rows, figures, cuts, holds = [], {}, {}, {}
    for method in conformal.METHODS:
        scores_NK = conformal.label_scores(fitting.p_NK, method, u_fit)
        cuts[method] = conformal.cut_of(scores_NK[np.arange(len(fitting)), fitting.truth_N], settings.coverage)
        set_NK = conformal.label_sets(p_NK, method, cuts[method], u_test)
        hit_N, size_N = set_NK[np.arange(len(test)), test.truth_N], set_NK.sum(1)
        holds[method] = hit_N
        coverage = covered(hit_N, settings)
        size = figure(float(size_N.mean()), *mean_interval(size_N.astype(np.float64), settings.confidence))
        figures |= {f"coverage_{method}": coverage, f"set_size_{method}": size}
        rows.append(
            {
                "method": method,
                "promised": settings.coverage,
                "coverage": coverage["value"],
                "low": coverage["low"],
                "high": coverage["high"],
                "mean_size": size["value"],
                "one_label": float((size_N == 1).mean()),
                "empty": float((size_N == 0).mean()),
            }
        )
    by_class = [
        {"class": name, "examples": int((test.truth_N == k).sum())}
        | {method: float(holds[method][test.truth_N == k].mean()) for method in conformal.METHODS}
        for k, name in enumerate(test.names)
        if (test.truth_N == k).any()
    ]
    keep(held, settings, {"kind": "set", "method": "lac", "cut": cuts["lac"], "coverage": settings.coverage})
    said = (
        f"Sets of labels that promise to hold the truth in {settings.coverage:.0%} of cases hold it in "
        f"{figures['coverage_lac']['value']:.1%}, with {figures['set_size_lac']['value']:.2f} labels on average."
    )
    empty = rows[0]["empty"]
    worst = min(by_class, key=lambda row: row["lac"])
    warnings = [*broken(figures["coverage_lac"], len(fitting), len(test), settings)]
    if wilson(worst["lac"] * worst["examples"], worst["examples"], settings.confidence)[1] < settings.coverage:
        warnings.append(
            f"the promise holds on average, not for every class: of {worst['class']}, sets hold the truth in {worst['lac']:.0%}"
        )
    if empty > 0:
        warnings.append(
            f"{empty:.1%} of the sets are empty: it is right more often than was promised; ask for more with --coverage"
        )
    tables = {"conformal_sets": rows, "coverage_by_class": by_class}
    return Verdict("stress", (said,), figures, tables=tables, warnings=tuple(warnings))


def number_promises(held: Held, fitting: Said, settings: Settings) -> Verdict:
    """Intervals of one width, and of a width that follows how wrong the model was on similar training examples."""
    test = held.test
    assert test.value_N is not None and test.truth_N is not None and fitting.error_N is not None
    scales: dict[str, tuple[np.ndarray, np.ndarray]] = {"plain": (np.ones(len(fitting)), np.ones(len(test)))}
    if test.features_ND is not None and fitting.features_ND is not None:
        some = sampled(held.train, TRAINING_EXAMPLES, settings.seed)
        train = ask(held.run.task, held.forward, some, held.batch_size, what="finding what is difficult")
        scales["by_difficulty"] = difficulty(train, fitting), difficulty(train, test)
    figures, rows, by_value = {}, [], []
    for name, (fit_N, test_N) in scales.items():
        cut = conformal.cut_of(fitting.error_N / fit_N, settings.coverage)
        low_N, high_N = conformal.intervals(test.value_N, cut, test_N)
        hit_N = (low_N <= test.truth_N) & (test.truth_N <= high_N)
        coverage, width = covered(hit_N, settings), float(np.mean(high_N - low_N))
        figures |= {f"coverage_{name}": coverage, f"interval_width_{name}": figure(width if math.isfinite(width) else None)}
        rows.append({"method": name, "promised": settings.coverage, "coverage": coverage["value"], "low": coverage["low"],
                     "high": coverage["high"], "mean_width": width})  # fmt: skip
        if name == "plain":
            keep(held, settings, {"kind": "interval", "method": "absolute residual", "cut": cut, "coverage": settings.coverage})
        for place, fifth in enumerate(np.array_split(np.argsort(test.value_N, kind="stable"), 5)):
            if len(fifth):
                by_value.append({"method": name, "fifth": place + 1, "from": float(test.value_N[fifth].min()),
                                 "to": float(test.value_N[fifth].max()), "coverage": float(hit_N[fifth].mean())})  # fmt: skip
    said = (
        f"Intervals that promise to hold the truth in {settings.coverage:.0%} of cases hold it in "
        f"{figures['coverage_plain']['value']:.1%}, and are {rows[0]['mean_width']:.4g} wide."
    )
    tables = {"intervals": rows, "coverage_by_value": by_value}
    return Verdict(
        "stress", (said,), figures, tables=tables, warnings=broken(figures["coverage_plain"], len(fitting), len(test), settings)
    )


def difficulty(train: Said, said: Said) -> np.ndarray:
    """Mean error of the 25 nearest training examples (N,), plus a tenth of the mean over all (Papadopoulos et al. 2011)."""
    assert train.features_ND is not None and said.features_ND is not None and train.error_N is not None
    bank_MD = unit(train.features_ND).astype(np.float32)
    near = min(NEIGHBOURS, len(bank_MD))
    overall = float(train.error_N.mean()) or 1.0
    found = []
    for start in range(0, len(said), 1024):
        similarity_NM = unit(said.features_ND[start : start + 1024]).astype(np.float32) @ bank_MD.T
        rows_NK = np.argpartition(-similarity_NM, near - 1, axis=1)[:, :near]
        found.append(train.error_N[rows_NK].mean(1) + FLOOR * overall)
    return np.concatenate(found)


def covered(hit_N: np.ndarray, settings: Settings) -> dict[str, Any]:
    """The share of examples whose truth is held, with its binomial interval."""
    return figure(float(hit_N.mean()), *wilson(float(hit_N.sum()), len(hit_N), settings.confidence))


def broken(coverage: dict[str, Any], fitted: int, tested: int, settings: Settings) -> tuple[str, ...]:
    """A warning where coverage falls short by more than chance: of the test examples and of those that the cut comes from."""
    chance = math.sqrt(settings.coverage * (1 - settings.coverage) * (1 / fitted + 1 / tested))
    if coverage["value"] >= settings.coverage - 3 * chance:
        return ()
    return (
        f"the promise of {settings.coverage:.0%} is not kept ({coverage['value']:.1%}): "
        "test examples are not like those that it was calibrated on",
    )


def keep(held: Held, settings: Settings, promise: dict[str, Any]) -> None:
    """Store a cut that is finite."""
    if settings.store and math.isfinite(promise["cut"]):
        held.run.keep_promise(promise)
