"""`explain`: from a run to what it looked at, with the faithfulness of every picture.

Order: examples and what the model says of them (frozen), the attributions of each method that applies, their curves beside
random rankings, the sanity check, then nearest training examples, counterfactuals, and for tables permutation importance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.answer import EVALUATION_BATCH
from lamina.data.columns import length, take
from lamina.explain import draw, texts, words
from lamina.explain.alignments import alignments
from lamina.explain.attribute import Attribution, attribute, chosen
from lamina.explain.counterfactuals import counterfactuals
from lamina.explain.examples import Reference, brief, encoded, examples, kind_of, label_column, own_data, reference_of
from lamina.explain.faithfulness import Curves, curves_of_maps
from lamina.explain.found import Found
from lamina.explain.importance import REPEATS, permutation_importance
from lamina.explain.nearest import features_of, nearest
from lamina.explain.places import spots
from lamina.explain.sanity import randomized, rank_correlation, structural_similarity
from lamina.explain.settings import Method, Settings
from lamina.explain.subject import CELLS, Subject, at_once, baseline_leaf, freeze, subject, subjects
from lamina.modalities.words import cut
from lamina.task import Batch
from lamina.terminal import progress
from lamina.train.precision import float32, has_convolutions, pick_device

if TYPE_CHECKING:
    from lamina.ask import Asked
    from lamina.run import Run
    from lamina.verdict import Verdict

SANITY_EXAMPLES, SANITY_STOPS = 32, 6
QUICK = {"examples": 24, "rankings": 1, "references": 500, "shown": 4}
SNIPPET = 120
"""Characters of a text in a table."""
LEAST_GROUND = 20
"""Rows with labels from which permutation importance is measured."""


def explain(asked: Asked[Settings]) -> Verdict:
    """What the run looked at when it answered `inputs` (as `lamina.predict` reads them), or a sample of a part without any.

    The gradients are computed in float32 unless `precision` names another. Raises LaminaError where an input cannot be
    read, or a part is empty. What does not apply is told under `skipped`.
    """
    run, settings = asked.run, asked.settings
    if settings.quick:
        settings = replace(settings, **{name: min(least, getattr(settings, name)) for name, least in QUICK.items()})
    where = pick_device(asked.device)
    own = own_data(run)
    columns, names, part = examples(run, settings, asked.source, asked.inputs, own)
    model = run.model().to(where).requires_grad_(False)
    if has_convolutions(model) and where.type != "mps":
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    reference = reference_of(run, own, settings, where)
    batch = encoded(run.task, columns, where)
    said = freeze(run.task, model, batch, settings.which)
    answers = _answers(run, batch, asked.device, asked.precision)
    found = Found(names, part, columns, answers, said)
    if run.task.inputs[0].modality == "text":
        _words(found, run)
        shown = min(settings.shown, len(names))
        if found.cell_BT is not None and shown:
            found.alignments = alignments(run.task, model, _first(said, shown), found.words, found.cell_BT[:shown])
    if isinstance(reference, Reference):
        found.reference = reference
    else:
        found.warnings.append(
            f"the training data could not be read, so inputs are compared with the middle of their range: {reference}"
        )
    wanted = "bfloat16" if asked.precision == "bfloat16" else "float32"
    first = subject(run.task, model, {name: value[:1] for name, value in said.items()}, wanted)
    size = asked.at_once(at_once(first.leaf))
    neutral = None if isinstance(reference, str) else reference.neutral
    found.methods, not_applying = chosen(settings, first)
    found.skipped |= not_applying
    if found.methods:
        _attribute(found, model, run, settings, neutral, size, wanted)
        if settings.sanity:
            _sanity(found, subject(run.task, model, _first(said, min(size, SANITY_EXAMPLES)), wanted), settings, neutral)
    if first.modality == "image" and found.methods:
        found.spots = spots(found.maps[found.methods[0]].double().numpy(), [kind_of(answer) for answer in answers])
    _neighbours(found, run, model, settings, reference, size)
    if settings.counterfactuals and settings.shown:
        shown = subject(run.task, model, _first(said, settings.shown))
        found.flips, why = counterfactuals(shown, columns, reference, found.spans)
        if why:
            found.skipped["counterfactuals"] = why
    _importance(found, run, model, where, settings)
    pictures = draw.pictures(found, run, settings)
    return words.verdict(found, run.task, settings, pictures)


def _words(found: Found, run: Run) -> None:
    """Which token belongs to which word, beside what is frozen."""
    found.column = run.task.asks[0]
    x_BT = found.said[run.task.inputs[0].name]
    told = texts.cells_of_words(run.task, found.columns, x_BT)
    if told is None:
        found.cell_BT, found.words = texts.tokens_as_words(x_BT)
        found.skipped["words"] = "the task does not tell what its tokens stand for (`pieces`), so they are named by number"
        return
    found.cell_BT, found.spans = told
    raw = texts.raw_texts(run.task, found.columns)
    found.words = [[text[a:b] for a, b in spans] for text, spans in zip(raw, found.spans, strict=True)]
    found.said[CELLS] = found.cell_BT


def _attribute(
    found: Found, model: nn.Module, run: Run, settings: Settings, neutral: Tensor | None, size: int, precision: str
) -> None:
    """Maps and curves, batch by batch."""
    parts: dict[Method, list[Attribution]] = {name: [] for name in found.methods}
    along: dict[str, list[Curves]] = {name: [] for name in (*found.methods, "random")}
    with progress("explaining", len(found.names)) as advance:
        for number, some in enumerate(subjects(run.task, model, found.said, size, precision)):
            baseline = baseline_leaf(some, neutral)
            for name in found.methods:
                parts[name].append(attribute(name, some, baseline, settings))
            maps = [parts[name][-1].map for name in found.methods]
            told = curves_of_maps(some, baseline, maps, settings.rankings, settings.seed + number)
            for name, one in zip((*found.methods, "random"), told, strict=True):
                along[name].append(one)
            advance(len(some.leaf))
    found.maps = {name: torch.cat([one.map.cpu().float() for one in parts[name]]) for name in found.methods}
    found.curves = {name: Curves.joined(ones) for name, ones in along.items()}
    integrated = parts.get("integrated-gradients", [])
    if integrated:
        found.gaps = {
            "missing": np.concatenate([one.missing for one in integrated if one.missing is not None]),
            "change": np.concatenate([one.change for one in integrated if one.change is not None]),
            "steps": np.array([max(one.steps for one in integrated)]),
        }


def _sanity(found: Found, some: Subject, settings: Settings, neutral: Tensor | None) -> None:
    """How alike the maps are before models whose weights are random from the top."""
    stops = 2 if settings.quick else SANITY_STOPS
    fewer = replace(settings, noisy_copies=min(16, settings.noisy_copies))
    with progress("randomizing weights", stops) as advance:
        for layer, share, other in randomized(some, stops, settings.seed):
            baseline = baseline_leaf(other, neutral)
            for name in found.methods:
                before = found.maps[name][: len(some.leaf)]
                after = attribute(name, other, baseline, fewer).map.cpu().float()
                row: dict[str, Any] = {"method": name, "random_down_to": layer, "share": share}
                words = found.cell_BT[: len(before)].cpu() if found.cell_BT is not None else None
                like_B = rank_correlation(before, after) if words is None else texts.alike(before, after, words)
                row["alike_B"] = like_B.numpy()
                flat = after.flatten(1)
                row["empty"] = float((flat.amax(1) == flat.amin(1)).float().mean())  # alike to nothing: no proof of much
                if before.dim() == 3:
                    row["ssim"] = float(structural_similarity(before, after).mean())
                found.sanity.append(row)
            advance(1)


def _neighbours(found: Found, run: Run, model: nn.Module, settings: Settings, reference: Reference | str, size: int) -> None:
    if isinstance(reference, str) or not settings.neighbours:
        why = "none were asked for" if not settings.neighbours else reference
        found.skipped["nearest training examples"] = str(why)
        return
    mine = features_of(run.task, model, found.said, size)
    theirs = features_of(run.task, model, reference.batch, size)
    if mine is None or theirs is None:
        found.skipped["nearest training examples"] = "the model gives no features, and runs no linear layer to read them from"
        return
    index_Bk, cosine_Bk = nearest(mine.cpu(), theirs.cpu(), settings.neighbours)
    label = label_column(run.task, reference.columns)
    is_text = run.task.inputs[0].modality == "text"
    held = [] if label is None else take({label: reference.columns[label]}, index_Bk.flatten().tolist())[label]
    for row, name in enumerate(found.names):
        for rank, (place, cosine) in enumerate(zip(index_Bk[row].tolist(), cosine_Bk[row].tolist(), strict=True), start=1):
            place_in_all = row * index_Bk.shape[1] + rank - 1
            found.neighbours.append({
                "example": name, "rank": rank, "training_row": int(reference.rows[place]) + 1,
                "label": None if label is None else brief(held[place_in_all]), "cosine": cosine, "_place": place, "_row": row,
                **({"text": cut(str(reference.columns[run.task.asks[0]][place]), SNIPPET)} if is_text else {}),
            })  # fmt: skip


def _importance(found: Found, run: Run, model: nn.Module, device: torch.device, settings: Settings) -> None:
    """Tables alone, and only where the answers are known."""
    task = run.task
    if task.inputs[0].modality != "table" or len(task.inputs[0].dims) != 2:
        return
    labelled = label_column(task, found.columns) is not None
    if not labelled or length(found.columns) < LEAST_GROUND:
        found.skipped["permutation importance"] = (
            f"it needs at least {LEAST_GROUND} rows whose answers are known; got {length(found.columns)}"
            + ("" if labelled else " without their answers")
        )
        return
    repeats = 2 if settings.quick else REPEATS
    batch = encoded(task, found.columns, device)
    with progress("shuffling columns", len(task.asks)) as advance:
        told = permutation_importance(task, lambda *x: float32(model(*x)), found.columns, batch, settings.seed, repeats, advance)
    for name, (mean, low, high) in zip(task.asks, told, strict=True):
        found.importance.append({"column": name, "importance": mean, "low": low, "high": high})


def _answers(run: Run, batch: Batch, device: str, precision: str | None) -> list[dict[str, Any]]:
    """What `lamina predict` would answer: temperature and all."""
    forward = run.forward(device, precision or "float32")
    said: list[dict[str, Any]] = []
    with torch.inference_mode():
        for start in range(0, len(next(iter(batch.values()))), EVALUATION_BATCH):
            said += run.task.briefly().predict(forward, {name: v[start : start + EVALUATION_BATCH] for name, v in batch.items()})
    return said


def _first(batch: Batch, count: int) -> Batch:
    return {name: value[:count] for name, value in batch.items()}
