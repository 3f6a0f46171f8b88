"""Asking a network what is inside: layers, units, gradients, and what each depth knows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lamina.answer import class_names, to_device
from lamina.data.columns import length, take
from lamina.errors import LaminaError
from lamina.evaluate import examples_of
from lamina.inspect import excite, gradients, layers, neurons, pictures, probes, trace
from lamina.inspect.settings import Settings
from lamina.modalities.words import cut, split_words
from lamina.task import Batch, Columns, Task
from lamina.terminal import progress
from lamina.train.precision import pick_device
from lamina.verdict import Verdict, figure, joined

if TYPE_CHECKING:
    from torch import nn

    from lamina.ask import Asked
    from lamina.run import Run

BATCH = 250
QUICK = {"examples": 300, "probe_examples": 600, "checked": 4, "directions": 1, "units": 4, "steps": 24}
SHOWN = 8
"""Examples shown for a unit."""
SHARED, QUOTES, QUOTED = 3, 3, 90
"""Words told that the texts of a unit share, texts quoted, and their characters."""


def inspect(asked: Asked[Settings]) -> Verdict:
    """Layers, units, gradients and depths of the run, seen on its own validation examples or on `source`.

    Works in float32 whatever `precision` says, which a warning tells then; gradients are checked in float64 on the CPU,
    and layers counted there. Raises LaminaError for too few examples.
    """
    run, settings = asked.run, asked.settings
    if settings.quick:
        settings = replace(settings, **{name: min(most, getattr(settings, name)) for name, most in QUICK.items()})
    where = pick_device(asked.device)
    learned, judged, rows = _examples(run, asked.source, settings)
    task, model = run.task, run.model()
    size = asked.at_once(BATCH)
    seen, told = (_batches(task, columns, size, where) for columns in (judged, learned))
    names = _class_names(task, learned, told, seen)
    few = task.encode(take(judged, range(min(settings.checked, length(judged)))), "evaluate")
    folder = run.pictures("inspect")
    parts = []
    learns = sum(p.requires_grad for p in model.parameters())
    with progress("inspecting", 5 + learns) as advance:
        parts.append(_layers(task, model, few))
        model = model.to(where)
        advance(1)
        parts.append(_units(task, model, seen))
        advance(1)
        parts.append(_gradients(task, model, seen[0], few, settings, folder, advance))
        parts.append(_depths(task, model, told, seen, names, settings, folder))
        advance(1)
        parts.append(_exciting(task, model, seen, judged, rows, names, settings, folder))
        advance(2)
    whole = joined("inspect", parts)
    order = sorted(range(len(parts)), key=lambda i: (not parts[i].warnings, i))  # what is wrong comes first
    sentences = tuple(line for i in order for line in parts[i].sentences)
    warnings = whole.warnings
    if asked.precision not in (None, "auto", "float32"):
        warnings = (*warnings, f"everything is computed in float32: --precision {asked.precision} changes nothing here")
    return replace(whole, sentences=sentences, warnings=warnings)


def _examples(run: Run, source: Any, settings: Settings) -> tuple[Columns, Columns, np.ndarray]:
    """Examples to learn probes from, those to judge on, and the rows of the latter in their part, from 1.

    Training and validation part, or halves where there are none.
    """
    columns, _, data = examples_of(run, source, None)
    generator = np.random.default_rng(settings.seed)
    learned, judged, places = data.train, data.valid, np.arange(length(data.valid))
    if length(learned) < 10 or length(judged) < 10:
        order = generator.permutation(length(columns))
        learned, judged, places = take(columns, order[::2]), take(columns, order[1::2]), order[1::2]
    if length(judged) < 1:
        raise LaminaError(f"inspect: expected 2 examples or more to look at; got {length(columns)}")
    first, second = (
        np.sort(generator.permutation(length(part))[:most])
        for part, most in ((learned, settings.probe_examples), (judged, settings.examples))
    )
    return take(learned, first), take(judged, second), places[second] + 1


def _batches(task: Task, columns: Columns, size: int, device: torch.device) -> list[Batch]:
    starts = range(0, length(columns), size)
    some = (take(columns, range(start, min(start + size, length(columns)))) for start in starts)
    return [to_device(task.encode(rows, "evaluate"), device) for rows in some]


def _class_names(task: Task, learned: Columns, told: list[Batch], seen: list[Batch]) -> list[str]:
    """What the classes are called, by number; empty where labels are no classes."""
    labels = [probes.labels_of(task, batches) for batches in (told, seen)]
    if any(label_N is None or not np.issubdtype(label_N.dtype, np.integer) or label_N.min() < 0 for label_N in labels):
        return []
    return class_names(task, learned, labels[0], 1 + max(int(label_N.max()) for label_N in labels))  # type: ignore[arg-type, union-attr]


def _layers(task: Task, model: nn.Module, batch: Batch) -> Verdict:
    found, formula, counted = layers.layers_of(task, model, batch)
    parameters = sum(p.numel() for p in model.parameters())
    held = sum(layer.bytes for layer in found)
    rows = [
        {
            "layer": f.name, "type": f.kind, "output": " x ".join(map(str, f.shape)), "parameters": f.parameters,
            "flops": f.flops, "memory_bytes": f.bytes,
            "receptive_field": "all" if f.receptive == math.inf else f.receptive and int(f.receptive),
        }
        for f in found
    ]  # fmt: skip
    deepest = max((f.receptive for f in found if f.receptive not in (None, math.inf)), default=None)  # type: ignore[type-var]
    outside = parameters - sum(f.parameters for f in found)
    words = f"The network has {parameters:,} parameters and takes {counted:,} floating point operations for an example"
    words += f" ({formula / counted:.0%} of them in layers of known formula)." if counted else "."
    skipped = {}
    if formula != counted:
        skipped["FLOPs by layer"] = f"{counted - formula:,} of {counted:,} are computed outside Linear and Conv layers"
    if outside:
        skipped["parameters by layer"] = f"{outside:,} of {parameters:,} belong to modules that hold others, or did not run"
    return Verdict(
        "inspect", (words,),
        {
            "parameters": figure(parameters), "flops": figure(counted), "flops_by_formula": figure(formula),
            "activation_bytes": figure(held), **({} if deepest is None else {"receptive_field_px": figure(deepest)}),
        },
        {"layers": rows}, skipped=skipped,
    )  # fmt: skip


def _units(task: Task, model: nn.Module, seen: list[Batch]) -> Verdict:
    rows = neurons.units_of(task, model, seen)
    count = sum(row["units"] for row in rows)
    examples = sum(len(batch[task.inputs[0].name]) for batch in seen)
    if not count:
        why = "no ReLU, GELU, SiLU, ELU, sigmoid or tanh was seen; those inside fused recurrent kernels cannot be"
        return Verdict("inspect", skipped={"dead and saturated units": why})
    dead, saturated = sum(r["dead"] for r in rows), sum(r["saturated"] for r in rows)
    words = f"Of {count:,} units, {dead:,} are dead and {saturated:,} saturated on {examples:,} examples."
    warnings = []
    for state in ("dead", "saturated"):
        for row in rows:
            if row[state]:
                warnings.append(f"{row['where']} ({row['activation']}): {row[state]} of {row['units']} units are {state}")
    return Verdict(
        "inspect", (words,),
        {
            "dead_units": figure(dead), "dead_share": figure(dead / count), "saturated_units": figure(saturated),
            "saturated_share": figure(saturated / count),
        },
        {"units": [{k: v for k, v in r.items() if not k.endswith("_units")} for r in rows]},
        warnings=tuple(warnings), details={"units": rows},
    )  # fmt: skip


def _gradients(task: Task, model: nn.Module, batch: Batch, few: Batch, settings: Settings, folder: Path, advance: Any) -> Verdict:
    if not any(p.requires_grad for p in model.parameters()):
        return Verdict("inspect", skipped={"gradients": "no parameter learns"})
    flow = gradients.flow(task, model, batch)
    words, ratio = gradients.flow_in_words(flow)
    warnings = [] if ratio is not None and gradients.VANISHING <= ratio <= 1 / gradients.VANISHING else [words]
    still = [row["parameter"] for row in flow if row["gradient"] == 0]
    if still:
        warnings.append(f"no gradient reaches {', '.join(still[:5])}{' and others' if len(still) > 5 else ''}")
    shown = {"gradient flow": pictures.gradient_flow(flow, folder / "gradient_flow.svg")} if len(still) < len(flow) else {}
    figures = {"gradient_first_to_last": figure(ratio)}
    tables = {"gradient flow": [{k: v for k, v in row.items() if k != "matrix"} for row in flow]}
    try:
        checked = gradients.numerical_check(task, model, few, settings.directions, settings.seed, advance)
    except (RuntimeError, NotImplementedError, LaminaError) as error:  # an operator without float64, or a leaf without gradient
        why = f"this network does not run in float64: {str(error).splitlines()[0]}"
        return Verdict("inspect", (words,), figures, tables, shown, tuple(warnings), {"numerical check of gradients": why})
    wrong = [row["parameter"] for row in checked if not row["agrees"]]
    greatest = max(row["greatest_error"] for row in checked)
    median = float(np.median([row["median_error"] for row in checked]))
    proven = sum(row["large_enough"] for row in checked)
    told = f"Backpropagation agrees with numerical gradients for {proven} of {len(checked)} tensors"
    told += f" (greatest relative error {greatest:.1e}); the others are too small to compare." * (proven < len(checked))
    told += f" (greatest relative error {greatest:.1e})." * (proven == len(checked))
    if wrong:
        told = (
            f"Backpropagation is wrong for {len(wrong)} of {len(checked)} tensors (greatest relative error {greatest:.2g}): "
            f"{', '.join(wrong[:5])}{' and others' if len(wrong) > 5 else ''}."
        )
        warnings.insert(0, told)
    figures |= {
        "gradient_error_median": figure(median),
        "gradient_error_max": figure(greatest),
        "wrong_gradients": figure(len(wrong)),
    }
    return Verdict("inspect", (told, words), figures, {**tables, "numerical check of gradients": checked}, shown, tuple(warnings))


def _depths(
    task: Task, model: nn.Module, told: list[Batch], seen: list[Batch], classes: list[str], settings: Settings, folder: Path
) -> Verdict:
    labels_N, truth_M = (probes.labels_of(task, batches) for batches in (told, seen))
    if labels_N is None or truth_M is None:
        return Verdict("inspect", skipped={"probes by depth": "a label is not one class or one number an example"})
    if len(np.unique(labels_N)) < 2:
        return Verdict("inspect", skipped={"probes by depth": "the training examples all have one label"})
    depths = trace.spaced(trace.blocks(model))
    learned, judged = (probes.activations(task, model, depths, batches) for batches in (told, seen))
    rows, by_class = probes.probe(learned, labels_N, judged, truth_M, settings.confidence, settings.seed, classes)
    metric = "accuracy" if "accuracy" in rows[0] else "r2"
    first, last, best = rows[0], rows[-1], max(rows, key=lambda row: row[metric])
    words = (
        f"A linear probe tells the answer with {metric} {first[metric]:.3f} from the raw input and {last[metric]:.3f} from the "
        f"last depth; most, {best[metric]:.3f} ({best['low']:.3f} to {best['high']:.3f}), from {best['depth']}."
    )
    sentences = [words]
    if by_class:
        late = [str(row["class"]) for row in by_class if row["separable_from"] == "nowhere"]
        sentences.append(
            f"Classes never told apart at a recall and precision of {probes.LEARNED:.0%} by a linear probe: {', '.join(late)}."
            if late
            else f"Every class is told apart by a linear probe at some depth (recall and precision {probes.LEARNED:.0%})."
        )  # fmt: skip
    return Verdict(
        "inspect", tuple(sentences),
        {
            f"probe_{metric}_input": figure(first[metric], first["low"], first["high"]),
            f"probe_{metric}_last": figure(last[metric], last["low"], last["high"]),
            f"probe_{metric}_best": figure(best[metric], best["low"], best["high"]),
        },
        {"probes by depth": rows, **({"classes by depth": by_class} if by_class else {})},
        {"probes by depth": pictures.by_depth(rows, metric, folder / "probes.svg")},
    )  # fmt: skip


def _of_texts(judged: Columns, column: str, places: list[int]) -> dict[str, Any]:
    """Of the texts that excite a unit, the first as they are, and what most of them share that texts at large lack."""
    texts = [str(text) for text in judged[column]]
    inside = [{text[a:b].casefold() for a, b in split_words(text)} for text in texts]
    here = Counter(word for i in places for word in inside[i] if any(c.isalnum() for c in word))
    whole = Counter(word for words in inside for word in words)
    # How much more often than by chance, times in how many: one text's own word is no pattern.
    lifted = {w: n * math.log((n / len(places)) / (whole[w] / len(texts))) for w, n in here.items() if n > 1}
    shared = sorted((w for w in lifted if lifted[w] > 0), key=lambda w: (-lifted[w], w))[:SHARED]
    quoted = {f"text {k}": cut(texts[i], QUOTED) for k, i in enumerate(places[:QUOTES], start=1)}
    return {"words": ", ".join(shared) or None, **quoted}


def _exciting(
    task: Task, model: nn.Module, seen: list[Batch], judged: Columns, rows: np.ndarray, classes: list[str], settings: Settings,
    folder: Path,
) -> Verdict:  # fmt: skip
    spec = task.inputs[0]
    image = spec.modality == "image" and seen[0][spec.name].dim() == 4
    whole = torch.cat([batch[spec.name].cpu() for batch in seen]) if image else None  # other inputs vary in size
    labels_N = probes.labels_of(task, seen) if classes else None
    depths = [name for name in trace.spaced(trace.blocks(model), 4) if name]
    tables, shown = [], {}
    low = float(spec.low) if isinstance(spec.low, (int, float)) else 0.0
    high = float(spec.high) if isinstance(spec.high, (int, float)) else 1.0
    for name, found in excite.exciting(task, model, depths, seen, settings.units, SHOWN).items():
        names = dict(enumerate(classes)) if classes and excite.is_answer(task, model, name, seen[0]) else {}
        units = [f"{unit} ({names[unit]})" if names.get(unit, str(unit)) != str(unit) else str(unit) for unit in found]
        for unit, places in zip(units, found.values(), strict=True):
            row: dict[str, Any] = {"depth": name, "unit": unit}
            if labels_N is not None:
                row["classes"] = _counted([classes[k] for k in labels_N[places]])
            if spec.modality == "text":
                row |= _of_texts(judged, task.asks[0], places)
            tables.append({**row, "rows": " ".join(map(str, rows[places]))})
        if whole is None or not found:
            continue
        file, order = name.replace(".", "_"), ", ".join(units)
        grid = [[whole[i].numpy() for i in places] for places in found.values()]
        shown[f"examples that excite {name} (units from the top: {order})"] = pictures.grid(
            grid, folder / f"examples_{file}.png", low, high
        )
        if settings.steps and len(seen[0][spec.name]) >= len(found):
            made, _ = excite.maximizing(task, model, name, list(found), seen[0], settings.steps, settings.seed)
            shown[f"pictures made to excite {name} (units from the left: {order})"] = pictures.grid(
                [[x.cpu().numpy() for x in made]], folder / f"made_{file}.png", low, high
            )
    skipped = {} if image else {"pictures that excite a unit": f"an input of modality {spec.modality} is no picture"}
    return Verdict("inspect", tables={"examples that excite a unit": tables}, pictures=shown, skipped=skipped)


def _counted(names: list[str]) -> str:
    """Names with how often each occurs, the most frequent first."""
    return ", ".join(f"{name} ({count})" for name, count in Counter(names).most_common())
