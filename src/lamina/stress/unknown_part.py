"""The part of `stress` about unknown inputs: four scores fitted to training examples, judged on data that is none of the model's.

The best method lets the fewest unknown inputs pass at a cut that passes 95% of calibration examples. It is chosen on half of
each unknown set; its figures are of test examples and of the other half, so that the choice does not flatter it. Its cut is
kept in the run.

Shapes: N examples, M unknown ones.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lamina.decode.conformal import cut_of
from lamina.decode.known import METHODS, Known, fitted
from lamina.stress.held import Held, sampled
from lamina.stress.intervals import accepted_unknown, auroc_interval, wilson
from lamina.stress.said import Said, ask, ask_batch
from lamina.stress.settings import Settings
from lamina.stress.substitutes import named_data, substitutes
from lamina.verdict import Verdict, figure

TRAINING_EXAMPLES = 5000
"""What the scores are fitted to, and what the nearest neighbours are looked for among, at most."""
UNKNOWN_EXAMPLES = 2000
SAME = 1e-5
"""A score that varies by less than this varies by rounding alone."""
QUICK_SHARE = 4
"""Quick looks at this many times fewer."""


def unknown_part(held: Held, settings: Settings) -> Verdict:
    """AUROC and FPR@95 of every method on every unknown set; the cut of the best method, kept with `store`."""
    why = not_applicable(held, settings)
    if why:
        return Verdict("stress", (), {}, skipped={"unknown_inputs": why})
    assert held.fitting is not None
    share = QUICK_SHARE if settings.quick else 1
    task = held.run.task
    train = ask(
        task,
        held.forward,
        sampled(held.train, TRAINING_EXAMPLES // share, settings.seed),
        held.batch_size,
        False,
        "fitting what is known",
    )
    methods, useless = useful(fitted(train.last_NK, train.features_ND), train)
    sets = unknown_sets(held, settings, UNKNOWN_EXAMPLES // share)
    if not sets or not methods:
        kind = task.inputs[0].modality
        return Verdict(
            "stress", (), {}, skipped={"unknown_inputs": f"no substitute comes with Lamina for {kind}; name some with --unknown"}
        )
    scores = {name: {"fit": scored(known, held.fitting), "test": scored(known, held.test)} for name, known in methods.items()}
    rows: list[dict[str, Any]] = []
    choosing: dict[str, list[float]] = {name: [] for name in methods}
    for label, said in sets.items():
        half = np.random.default_rng(settings.seed).permutation(len(said)) % 2 == 0
        for name, known in methods.items():
            score_M = scored(known, said)
            choosing[name].append(accepted_unknown(scores[name]["fit"], score_M[half], settings.accepted))
            row = judged(name, label, scores[name]["test"], score_M[~half], settings)
            rows.append({**row, "told_unknown": float((score_M[~half] > cut_of(scores[name]["fit"], settings.accepted)).mean())})
    best = min(methods, key=lambda name: (float(np.mean(choosing[name])), METHODS.index(name)))
    cut = cut_of(scores[best]["fit"], settings.accepted)
    known = replace(methods[best], cut=cut, about={**methods[best].about, "accepted": settings.accepted, "examples": len(train)})
    passed = int((scores[best]["test"] <= cut).sum())
    keep = settings.store and np.isfinite(cut)
    if keep:
        held.run.keep_known(known, accepted=settings.accepted, part=held.fitting_part)
    mine = [row for row in rows if row["method"] == best]
    return Verdict(
        "stress",
        (sentence(best, mine, passed / len(held.test), settings, bool(keep)),),
        figures_of(rows, best, passed, len(held.test), settings),
        tables={"unknown_inputs": rows},
        warnings=warnings_of(mine, bool(settings.unknown), cut),
        skipped=useless,
        details={"unknown_method": best, "unknown_cut": cut if np.isfinite(cut) else None},
    )


def useful(methods: dict[str, Known], train: Said) -> tuple[dict[str, Known], dict[str, str]]:
    """The methods whose score differs between training examples; why the others are left out."""
    same = [name for name, known in methods.items() if float(np.ptp(scored(known, train))) < SAME]
    why = {f"unknown_{name}": "its score is the same for all training examples" for name in same}
    if "energy" in same:
        why["unknown_energy"] = "the logits are log probabilities, whose energy is the same for every input"
    return {name: known for name, known in methods.items() if name not in same}, why


def not_applicable(held: Held, settings: Settings) -> str | None:
    """Why unknown inputs cannot be told, in words."""
    if not settings.unfamiliar:
        return "not asked for (--no-unfamiliar)"
    if held.fitting is None:
        return "the data has fewer than 20 examples for calibration"
    if held.test.last_NK is None and held.test.features_ND is None:
        return "the model gives neither `logits` nor `features`, of which every score is made"
    return None


def unknown_sets(held: Held, settings: Settings, most: int) -> dict[str, Said]:
    """What the model says of inputs that it should not know, by the name of their set."""
    task = held.run.task
    if settings.unknown is not None:
        batches = [(settings.unknown, named_data(task, settings.unknown, most, settings.seed))]
    else:
        bundled = held.run.info["source"].get("data") is None
        batches = list(substitutes(task, sampled(held.test.columns, most, settings.seed), bundled, settings.seed))
    return {name: ask_batch(task, held.forward, batch, held.batch_size) for name, batch in batches}


def scored(known: Known, said: Said) -> np.ndarray:
    """Unfamiliarity (N,) of what was said."""
    return known.unfamiliarity(said.last_NK, said.features_ND)


def judged(method: str, label: str, known_N: np.ndarray, unknown_M: np.ndarray, settings: Settings) -> dict[str, Any]:
    """A row: how well the method tells the set `label` from test examples."""
    value, low, high = auroc_interval(known_N, unknown_M, settings.confidence)
    passing = accepted_unknown(known_N, unknown_M, settings.accepted)
    bounds = wilson(passing * len(unknown_M), len(unknown_M), settings.confidence)
    return {
        "method": method, "unknown": label, "examples": len(unknown_M), "auroc": value, "low": low, "high": high,
        "fpr95": passing, "fpr95_low": bounds[0], "fpr95_high": bounds[1],
    }  # fmt: skip


def figures_of(rows: list[dict[str, Any]], best: str, passed: int, count: int, settings: Settings) -> dict[str, Any]:
    """The worst set of each method, since a mean over sets hides it; the best method's as `unknown_auroc`."""
    found = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        worst = min((row for row in rows if row["method"] == method), key=lambda row: row["auroc"])
        found[f"unknown_auroc_{method}"] = figure(worst["auroc"], worst["low"], worst["high"])
        if method == best:
            found["unknown_auroc"] = found[f"unknown_auroc_{method}"]
            found["unknown_fpr95"] = figure(worst["fpr95"], worst["fpr95_low"], worst["fpr95_high"])
    found["known_accepted"] = figure(passed / count, *wilson(passed, count, settings.confidence))
    return found


def sentence(best: str, rows: list[dict[str, Any]], passing: float, settings: Settings, kept: bool) -> str:
    """How well the best method tells, in words."""
    told = ", ".join(f"{row['told_unknown']:.0%} of {row['unknown']}" for row in rows)
    known = f"while it passes {passing:.0%} of inputs like those of training as known"
    then = "predict says so from now on" if kept else "not kept"
    return f"The best of the methods ({best}) tells {told} as unknown, {known}; {then}."


def warnings_of(rows: list[dict[str, Any]], given: bool, cut: float) -> tuple[str, ...]:
    """What to know before trusting the cut."""
    found = []
    worst = min(rows, key=lambda row: row["auroc"])
    if worst["auroc"] < 0.8:
        found.append(
            f"inputs such as {worst['unknown']} pass for known too often (AUROC {worst['auroc']:.2f}): do not rely on `unknown`"
        )
    if not given:
        found.append("the unknown inputs are substitutes; real ones may be harder to tell: name some with --unknown")
    if not np.isfinite(cut):
        found.append("too few calibration examples for a cut: none was kept")
    return tuple(found)
