"""What was found, told: sentences for somebody who is no engineer, the figures behind them, and the tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.explain.attribute import GAP
from lamina.explain.draw import LOOKED_AT, shaded_rows
from lamina.explain.examples import in_words, kind_of
from lamina.explain.faithfulness import area, gains, mean_interval, relative_gap, sign_flip_p
from lamina.explain.places import AREA, SUSPECT
from lamina.explain.sanity import ALIKE
from lamina.explain.settings import Settings
from lamina.explain.texts import of_words, strongest
from lamina.modalities.words import cut
from lamina.task import Task
from lamina.verdict import Verdict, figure

if TYPE_CHECKING:
    from lamina.explain.found import Found

SURE = 0.05
TOLD, TOLD_ANSWERS = 4, 4
"""Words of an answer, and answers, that a sentence names."""
WORTH = 0.2
"""The share of the strongest word's mean from which another is told."""
SHOWN_TEXT = 200
"""Characters of a changed text in a table."""
FEWEST = 6
"""Examples below which no pattern of signs can be unlikelier than 3%, so that a test says nothing."""


@dataclass
class Part:
    """What one part of an explanation adds to the Verdict."""

    sentences: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def verdict(found: Found, task: Task, settings: Settings, pictures: dict[str, Path]) -> Verdict:
    """The Verdict of `lamina explain`."""
    figures: dict[str, Any] = {"explained": figure(len(found.names))}
    tables: dict[str, list[dict[str, Any]]] = {"answers": _answers(found)}
    sentences: list[str] = []
    warnings, skipped = list(found.warnings), dict(found.skipped)
    for tell in (_faithful, _complete, _sane, _spots, _columns, _words, _neighbours, _flips):
        part = tell(found, task, settings)
        sentences += part.sentences
        warnings += part.warnings
        figures |= part.figures
        tables |= part.tables
        skipped |= part.skipped
    details = {"methods": list(found.methods), "part": found.part, "curves": _mean_curves(found)}
    shown = shaded_rows(found, min(settings.shown, len(found.names))) if found.cell_BT is not None else []
    return Verdict(
        "explain", tuple(sentences), figures, tables, pictures, tuple(warnings), skipped, details=details,
        texts={LOOKED_AT: shown} if shown else {},
    )  # fmt: skip


def snake(method: str) -> str:
    return method.replace("-", "_")


def _answers(found: Found) -> list[dict[str, Any]]:
    return [{"example": n, "answer": in_words(a)} for n, a in zip(found.names, found.answers, strict=True)]


def _mean_curves(found: Found) -> dict[str, Any]:
    return {
        name: {"deletion": one.deletion.mean(0).tolist(), "insertion": one.insertion.mean(0).tolist()}
        for name, one in found.curves.items()
    }


def _faithful(found: Found, task: Task, settings: Settings) -> Part:
    part = Part()
    if not found.methods:
        part.sentences += [f"No explanation was made: {'; '.join(f'{name}: {why}' for name, why in found.skipped.items())}."]
        return part
    rows = []
    count = len(found.names)
    for place, method in enumerate(found.methods):
        prefixes = [f"{snake(method)}_"] if place else [f"{snake(method)}_", ""]
        told, failed = list[str](), list[str]()
        for kind, gain_B in gains(found.curves[method], found.curves["random"]).items():
            mean, low, high = mean_interval(gain_B, settings.resamples, settings.confidence, settings.seed)
            p = sign_flip_p(gain_B, settings.resamples, settings.seed) if count >= FEWEST else None
            for prefix in prefixes:
                part.figures[f"{prefix}{kind}_gain"] = figure(mean, low, high)
                part.figures[f"{prefix}{kind}_p"] = figure(p)
            along = float(area(getattr(found.curves[method], kind)).mean())
            rows.append({"method": method, "curve": kind, "area": along, "gain": mean, "low": low, "high": high, "p": p})
            told.append(f"{kind} {mean:+.3f}")
            if p is not None and (mean <= 0 or p >= SURE):
                failed.append({"deletion": "hiding", "insertion": "showing"}[kind])
        name = method.replace("-", " ")
        by = f"{', '.join(told)} on {count} example{'s' * (count != 1)}"
        if count < FEWEST:
            line = f"What {name} points at, against random places: {by}; {count} is too few to tell it from chance."
        elif failed:
            line = f"What {name} points at is not shown to be what the model uses, beside random places ({by})."
            why = f"{' and '.join(failed)} what it points at is no better than {' and '.join(failed)} random places"
            part.warnings.append(f"{name}: {why}; do not read its picture as the reason")
        else:
            line = f"What {name} points at is what the model uses: hiding it and showing it beat random places ({by})."
        part.sentences.append(line)
    part.tables["faithfulness"] = rows
    return part


def _complete(found: Found, task: Task, settings: Settings) -> Part:
    part = Part()
    if not found.gaps:
        return part
    missing, change = found.gaps["missing"], found.gaps["change"]
    value = relative_gap(missing, change)
    rng = np.random.default_rng((settings.seed, 4))
    draws = [relative_gap(missing[i], change[i]) for i in rng.integers(0, len(missing), (1000, len(missing)))]
    low, high = np.quantile(draws, [(1 - settings.confidence) / 2, (1 + settings.confidence) / 2])
    part.figures["completeness_gap"] = figure(value, float(low), float(high))
    part.figures["ig_steps"] = figure(int(found.gaps["steps"][0]))
    if value >= GAP:
        part.warnings.append(f"integrated gradients leave {100 * value:.1f}% of the answer unexplained; raise --ig-steps")
    part.sentences += [
        f"Integrated gradients account for the answer but for {100 * value:.2f}%, in {int(found.gaps['steps'][0])} steps."
    ]
    return part


def _sane(found: Found, task: Task, settings: Settings) -> Part:
    part = Part()
    if not found.sanity:
        if found.methods:
            part.skipped["sanity check"] = "it was not asked for"
        return part
    for place, method in enumerate(found.methods):
        last = [row for row in found.sanity if row["method"] == method][-1]
        value, low, high = mean_interval(last["alike_B"], settings.resamples, settings.confidence, settings.seed)
        for prefix in [f"{snake(method)}_"] if place else [f"{snake(method)}_", ""]:
            part.figures[f"{prefix}sanity_similarity"] = figure(value, low, high)
        name = method.replace("-", " ")
        if high < ALIKE:
            told = f"random weights leave a likeness of {value:.2f} of 1"
            part.sentences.append(f"What {name} shows depends on what was learned: {told}.")
        else:
            told = f"a model that learned nothing shows much the same (likeness {value:.2f} of 1)"
            part.sentences.append(f"What {name} shows hardly depends on what was learned: {told}.")
            part.warnings.append(f"{name} fails the sanity check: it shows the input rather than the model")
    rows = []
    for row in found.sanity:
        plain = {name: value for name, value in row.items() if name != "alike_B"}
        rows.append({**plain, "rank_correlation": float(row["alike_B"].mean())})
    part.tables["sanity"] = rows
    return part


def _spots(found: Found, task: Task, settings: Settings) -> Part:
    part = Part()
    if not found.spots:
        return part
    part.tables["fixed_spots"] = found.spots
    worst = found.spots[0]
    part.figures["fixed_spot_share"] = figure(worst["share"])
    where = f"rows {worst['top']} to {worst['bottom']}, columns {worst['left']} to {worst['right']}"
    share = f"{100 * worst['share']:.0f}% of what speaks for {worst['answer']}"
    told = f"{share} lies in the same {100 * AREA:.0f}% of all its pictures, {where}"
    if worst["share"] >= SUSPECT:
        part.warnings.append(f"{told}: look there for a stamp, a border or another thing that is not what the label means")
    part.sentences += [f"{told}."]
    return part


def _columns(found: Found, task: Task, settings: Settings) -> Part:
    part = Part()
    if task.inputs[0].modality != "table" or not found.maps:
        return part
    map_BC = found.maps[found.methods[0]].abs().double().numpy()
    if map_BC.shape[1] != len(task.asks):
        return part
    mean_C = map_BC.mean(0)
    rows = [{"column": name, "mean_magnitude": float(value)} for name, value in zip(task.asks, mean_C, strict=True)]
    for row, one in zip(rows, found.importance, strict=False):
        row |= {f"{task.headline[0]}_loss_when_shuffled": one["importance"], "low": one["low"], "high": one["high"]}
    part.tables["columns"] = sorted(rows, key=lambda row: -float(row["mean_magnitude"]))
    share = mean_C.max() / max(mean_C.sum(), 1e-12)
    part.figures["top_column_share"] = figure(float(share))
    part.sentences += [
        f"Single answers rest most on {part.tables['columns'][0]['column']}: {100 * share:.0f}% of all attribution."
    ]
    if found.importance:
        top = max(found.importance, key=lambda one: one["importance"])
        part.figures["permutation_importance_top"] = figure(top["importance"], top["low"], top["high"])
        metric = task.headline[0]
        part.sentences.append(f"Shuffling {top['column']} costs the model most: {metric} gets worse by {top['importance']:.3g}.")
    return part


def _words(found: Found, task: Task, settings: Settings) -> Part:
    part = Part()
    if found.cell_BT is None or not found.methods:
        return part
    values = of_words(found.maps[found.methods[0]], found.cell_BT.cpu())
    rows = strongest([kind_of(answer) for answer in found.answers], found.words, values)
    if not rows:
        return part
    part.tables["words"] = rows
    told = []
    for answer in dict.fromkeys(row["answer"] for row in rows):
        means = {row["word"]: row["mean"] for row in rows if row["answer"] == answer}
        first = [word for word, mean in means.items() if mean > WORTH * max(means.values())][:TOLD]
        told += [f"{answer}: {', '.join(first)}"] if first else []
    if told:
        few = "; ".join(told[:TOLD_ANSWERS]) + ("; ..." if len(told) > TOLD_ANSWERS else "")
        part.sentences.append(f"The words that speak most for an answer, on the whole: {few}.")
    return part


def _neighbours(found: Found, task: Task, settings: Settings) -> Part:
    part = Part()
    if not found.neighbours:
        return part
    part.tables["nearest"] = [{k: v for k, v in one.items() if not k.startswith("_")} for one in found.neighbours]
    texts = [next((v for v in answer.values() if isinstance(v, str)), None) for answer in found.answers]
    if None in texts or any(one["label"] is None for one in found.neighbours):
        return part
    agree = np.zeros(len(texts))
    for one in found.neighbours:
        agree[one["_row"]] += str(one["label"]) == texts[one["_row"]]
    agree /= max(one["rank"] for one in found.neighbours)
    value, low, high = mean_interval(agree, settings.resamples, settings.confidence, settings.seed)
    part.figures["neighbour_agreement"] = figure(value, low, high)
    told = f"{100 * value:.0f}% bear the label that it answered"
    part.sentences.append(f"Of the training examples that it sees as most alike, {told}.")
    return part


def _flips(found: Found, task: Task, settings: Settings) -> Part:
    part = Part()
    if not found.flips:
        return part
    rows = []
    for one in found.flips:
        row = {
            "example": found.names[one["row"]],
            "answer": in_words(found.answers[one["row"]]),
            "becomes": one["becomes"] or None,
        }
        if "changed_words" in one:
            row["without"] = ", ".join(one["removed"]) or None
            row["with"] = "; ".join(f"{old} -> {new}" for old, new in one["replaced"]) or None
            row["text"] = cut(one["text"], SHOWN_TEXT) or None
        elif "changes" in one:
            row["changes"] = "; ".join(f"{c['column']}: {_cell(c['from'])} -> {_cell(c['to'])}" for c in one["changes"])
        else:
            row["rms_share"] = one["rms_share"] if one["found"] else None
        rows.append(row)
    part.tables["counterfactuals"] = rows
    done = [one for one in found.flips if one["found"]]
    part.figures["counterfactuals_found"] = figure(len(done) / len(found.flips))
    if not done:
        part.sentences += [f"No small change flips any of the {len(found.flips)} answers tried."]
        return part
    if "changed_words" in done[0]:
        counts = np.array([one["changed_words"] for one in done], dtype=float)
        part.figures["counterfactual_words"] = _interval(counts, settings)
        few, first = float(np.median(counts)), rows[done[0]["row"]]
        told = f"{few:g} word{'s' * (few != 1)} taken away or replaced (median)"
        part.sentences.append(
            f"To flip an answer it takes {told}; {first['example']} {done[0]['how']} becomes {first['becomes']}."
        )
        return part
    if "changes" in done[0]:
        counts = np.array([one["changed_columns"] for one in done], dtype=float)
        part.figures["counterfactual_columns"] = _interval(counts, settings)
        first = rows[done[0]["row"]]
        few = float(np.median(counts))
        told = f"a change of {few:g} column{'s' * (few != 1)} (median); {first['example']}: {first['changes']}"
        part.sentences.append(f"To flip an answer it takes {told}.")
        return part
    shares = np.array([one["rms_share"] for one in done])
    part.figures["counterfactual_rms_share"] = _interval(shares, settings)
    part.sentences += [
        f"To flip an answer it takes a change of {100 * shares.mean():.1f}% of the range of a pixel, in the mean square."
    ]
    return part


def _interval(values: np.ndarray, settings: Settings) -> Any:
    return figure(*mean_interval(values, settings.resamples, settings.confidence, settings.seed))


def _cell(value: Any) -> str:
    return "missing" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
