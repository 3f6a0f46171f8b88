"""The part of `stress` about probabilities: how far off they are, before and after a temperature is fitted, and kept.

Shapes: N examples, K classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.stress import calibration as measures
from lamina.stress.held import Held
from lamina.stress.intervals import mean_interval
from lamina.stress.pictures import reliability
from lamina.stress.settings import Settings
from lamina.verdict import Verdict, figure

CHANCE_DRAWS = 200
FEW = 200
"""Calibration examples below which a temperature is uncertain enough to be told."""


def calibration_part(held: Held, settings: Settings) -> Verdict:
    """Expected calibration error before and after temperature scaling; the temperature is in `details`, and kept with `store`.

    `held` is at temperature 1. Answers that are no classes are skipped, in words.
    """
    if not settings.calibrate:
        return Verdict("stress", (), {}, skipped={"calibration": "not asked for (--no-calibrate)"})
    if held.test.kind != "class":
        return Verdict(
            "stress", (), {}, skipped={"calibration": "only answers that are one of several classes have probabilities"}
        )
    if held.fitting is None:
        return Verdict("stress", (), {}, skipped={"calibration": "the data has fewer than 20 examples for calibration"})
    fitting, test = held.fitting, held.test
    assert (
        fitting.logits_NK is not None and fitting.truth_N is not None and test.logits_NK is not None and test.truth_N is not None
    )
    temperature = measures.fit_temperature(fitting.logits_NK, fitting.truth_N)
    warnings = []
    if measures.at_bound(temperature):
        warnings.append(
            f"no temperature was fitted: on {len(fitting)} calibration examples the search ran to its edge ({temperature:.3g}), "
            "as it does where none is answered wrongly"
        )
        temperature = 1.0
    elif len(fitting) < FEW:
        warnings.append(f"the temperature comes from only {len(fitting)} examples")
    if settings.store:
        facts = {
            "examples": len(fitting),
            "part": held.fitting_part,
            "nll": measures.nll(fitting.logits_NK, fitting.truth_N, temperature),
        }
        held.run.keep_temperature(temperature, **facts)
    before = measured(test.logits_NK, test.truth_N, settings)
    after = measured(test.logits_NK / temperature, test.truth_N, settings)
    figures = {f"{name}_uncalibrated": value for name, value in before.items() if name in ("ece", "brier", "nll")}
    figures |= {**after, "temperature": figure(temperature)}
    sure_before, right = measures.confidence_of(test.logits_NK, test.truth_N)
    sure_after, _ = measures.confidence_of(test.logits_NK / temperature, test.truth_N)
    picture = reliability(
        {"as trained": (sure_before, right), f"at temperature {temperature:.3g}": (sure_after, right)},
        held.run.pictures("stress") / "reliability.svg",
    )
    return Verdict(
        "stress",
        (sentence(before, after, temperature, float(sure_before.mean() - right.mean()), settings.store),),
        figures,
        tables={"reliability": rows_of(sure_after, right)},
        pictures={"reliability": picture},
        warnings=tuple(warnings),
        details={"temperature": temperature},
    )


def measured(logits_NK: np.ndarray, truth_N: np.ndarray, settings: Settings) -> dict[str, Any]:
    """Every figure of calibration, with its interval."""
    sure_N, right_N = measures.confidence_of(logits_NK, truth_N)
    found = {}
    for name, equal in (("ece", False), ("ece_equal_mass", True)):
        bin_N = measures.bin_numbers(sure_N, equal_mass=equal)
        value = measures.ece(measures.binned(sure_N, right_N, bin_N))
        found[name] = figure(
            value, *measures.ece_interval(sure_N, right_N, bin_N, settings.draws, settings.confidence, settings.seed)
        )
    bin_N = measures.bin_numbers(sure_N)
    found["ece_debiased"] = figure(measures.ece_debiased(measures.binned(sure_N, right_N, bin_N)))
    found["ece_by_chance"] = figure(*by_chance(sure_N, bin_N, settings.confidence, settings.seed))
    p_NK = measures.softmax(logits_NK)
    found["ece_classwise"] = figure(measures.ece_classwise(p_NK, truth_N))
    each_N = measures.brier(p_NK, truth_N)
    found["brier"] = figure(float(each_N.mean()), *mean_interval(each_N, settings.confidence))
    found["nll"] = figure(measures.nll(logits_NK, truth_N))
    return found


def by_chance(sure_N: np.ndarray, bin_N: np.ndarray, confidence: float, seed: int) -> tuple[float, float, float]:
    """The ECE that a perfectly calibrated model as sure as this one shows (Broecker and Smith 2007): mean and bounds."""
    rng = np.random.default_rng(seed)
    draws = [
        measures.ece(measures.binned(sure_N, (rng.random(len(sure_N)) < sure_N).astype(np.float64), bin_N))
        for _ in range(CHANCE_DRAWS)
    ]
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(np.mean(draws)), float(low), float(high)


def sentence(before: dict[str, Any], after: dict[str, Any], temperature: float, over: float, stored: bool) -> str:
    """How far probabilities are off, in words."""
    way = "more sure than right" if over > 0 else "less sure than right"
    said = f"As trained, its probabilities are off by {100 * before['ece']['value']:.1f} points on average ({way})"
    then = f"dividing its logits by {temperature:.2f} brings that to {100 * after['ece']['value']:.1f}"
    chance = f"a perfectly calibrated model would show {100 * after['ece_by_chance']['value']:.1f} on this many examples"
    kept = "its answers do so from now on" if stored else "not kept (--no-store)"
    return f"{said}; {then} ({chance}); {kept}."


def rows_of(sure_N: np.ndarray, right_N: np.ndarray) -> list[dict[str, Any]]:
    """The reliability diagram as a table; empty bins are left out."""
    made = measures.binned(sure_N, right_N, measures.bin_numbers(sure_N))
    return [
        {
            "from": m / measures.BINS,
            "to": (m + 1) / measures.BINS,
            "examples": int(count),
            "confidence": float(sure),
            "accuracy": float(right),
        }
        for m, (count, sure, right) in enumerate(zip(*made, strict=True))
        if count
    ]
