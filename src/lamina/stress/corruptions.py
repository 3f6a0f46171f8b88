"""How much of a model's quality is left when its inputs are worse than those it learned from.

Every kind and severity of the modality's corruptions is applied to raw examples, and the run's task evaluates them as
any others, over any Forward. The mean over kinds and severities is the headline metric's analogue of the mean corruption error
of Hendrycks and Dietterich 2019 (arXiv:1903.12261), not divided by another network's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.columns import length, take
from lamina.evaluate import asked, interval, resample
from lamina.modalities import corrupt_image, corrupt_observation, corrupt_table, corrupt_text
from lamina.modalities.image import pictures
from lamina.modalities.words import cut
from lamina.task import Columns, Forward, Task
from lamina.terminal import figure as shown
from lamina.terminal import progress
from lamina.verdict import Verdict, figure

if TYPE_CHECKING:
    from lamina.run import Run
    from lamina.stress.settings import Settings

QUICK_EXAMPLES, QUICK_SEVERITIES = 100, (1, 3, 5)
RESAMPLES = 200
"""Draws behind an interval, at most: every one is computed for each of up to 75 corruptions."""

SHOWN = 160
"""Characters of a corrupted text in a table."""

Corrupt = Callable[[str, int], "Columns | None"]
"""(kind, severity) -> the examples, corrupted; None where there is nothing that the kind could change."""


def corruption_part(run: Run, examples: Columns, settings: Settings, forward: Forward) -> Verdict:
    """Figures `corruption` (the mean of the headline metric), `corruption_worst` and `corruption_KIND`; a row a kind."""
    began = time.monotonic()
    task = run.task.briefly()  # each example is answered up to sixty times
    if not settings.corruptions:
        return Verdict("stress", (), {}, skipped={"corruptions": "turned off"})
    kinds = kinds_of(task)
    if not kinds:
        why = f"no corruptions of the modality {task.inputs[0].modality!r} are known"
        return Verdict("stress", (), {}, skipped={"corruptions": why})
    most = min(settings.corruption_examples, QUICK_EXAMPLES) if settings.quick else settings.corruption_examples
    severities = tuple(s for s in QUICK_SEVERITIES if s in settings.severities) if settings.quick else settings.severities
    chosen = subset(examples, most, settings.seed)
    skipped = {}
    if length(chosen) < length(examples):
        skipped["corruptions of all examples"] = f"{length(chosen):,} of {length(examples):,} were corrupted"
    severities = severities or settings.severities
    if task != run.task:
        skipped["corruptions of its usual answers"] = "answers are as brief as they can be, the clean ones too"
    resamples = min(settings.resamples, RESAMPLES) if length(chosen) > 1 else 0
    corrupted = corruptor(task, chosen, settings.seed)
    clean, clean_draws = judged(task, forward, chosen, resamples, settings.seed)
    values: dict[str, dict[int, float]] = {}
    draws: dict[str, list[np.ndarray]] = {}
    with progress("corrupting", len(kinds) * len(severities)) as advance:
        for kind in kinds:
            for severity in severities:
                columns = corrupted(kind, severity)
                advance(1)
                if columns is None:
                    skipped[f"corruption {kind}"] = "the data holds nothing that it could change"
                    break
                value, drawn = judged(task, forward, columns, resamples, settings.seed)
                values.setdefault(kind, {})[severity] = value
                draws.setdefault(kind, []).append(drawn)
    if not values:
        return Verdict("stress", (), {}, skipped=skipped, seconds=time.monotonic() - began)
    return told(run, settings, chosen, clean, clean_draws, values, draws, skipped, time.monotonic() - began)


def told(
    run: Run,
    settings: Settings,
    examples: Columns,
    clean: float,
    clean_draws: np.ndarray,
    values: dict[str, dict[int, float]],
    draws: dict[str, list[np.ndarray]],
    skipped: dict[str, str],
    seconds: float,
) -> Verdict:
    """The verdict over what was measured: `values` of the headline metric by kind and severity, `draws` of each."""
    metric, better = run.task.headline
    means = {kind: float(np.mean(list(row.values()))) for kind, row in values.items()}
    broken = [kind for kind, value in means.items() if not np.isfinite(value)]
    warnings = tuple(f"under {kind.replace('_', ' ')} its {metric} is not a number" for kind in broken)
    means = {kind: value for kind, value in means.items() if kind not in broken}
    if not means:
        return Verdict("stress", (), {}, warnings=warnings, skipped=skipped, seconds=seconds)
    mean = float(np.mean(list(means.values())))
    mean_draws = {kind: np.mean(drawn, axis=0) for kind, drawn in draws.items()}
    worst = (min if better == "max" else max)(means, key=means.__getitem__)
    bounds = {kind: interval(means[kind], mean_draws[kind], settings.confidence) for kind in means}
    whole = interval(mean, np.mean([mean_draws[kind] for kind in means], axis=0), settings.confidence)
    figures = {
        "corruption": whole,
        "corruption_worst": bounds[worst],
        "corruption_clean": interval(clean, clean_draws, settings.confidence),
        "corruption_drop": figure(drop(clean, mean, better)),
        **{f"corruption_{kind}": bounds[kind] for kind in means},
    }
    rows = [
        {
            "kind": kind,
            **{str(severity): value for severity, value in values[kind].items()},
            "mean": means[kind],
            "drop": drop(clean, means[kind], better),
        }
        for kind in sorted(means, key=lambda kind: means[kind], reverse=better == "min")
    ]
    kept = f"{shown(mean)} ({shown(whole['low'])} to {shown(whole['high'])})"
    sentences = (
        f"Under {len(means)} kinds of corruption its {metric} is {kept} on average, against {shown(clean)} on clean inputs.",
        f"Worst is {worst.replace('_', ' ')}: {metric} {shown(means[worst])}.",
    )
    warnings += tuple(
        f"{kind.replace('_', ' ')} alone costs {100 * lost:.0f}% of the {metric} (from {shown(clean)} to {shown(means[kind])})"
        for kind in means
        if (lost := drop(clean, means[kind], better) or 0.0) > 0.5
    )
    from lamina.stress.robustness_pictures import curves, sheet

    drawn = {"corruptions": curves(run.pictures("stress") / "corruptions.svg", metric, clean, values)}
    if run.task.inputs[0].modality == "image" and not run.task.acts:
        first = picture_column(run.task)
        pixels = pictures(take({first: examples[first]}, [0])[first], shape_of(run.task, examples[first]))
        drawn["corrupted example"] = sheet(run.pictures("stress") / "corrupted.png", pixels, list(values), settings.seed)
    tables = {"corruptions": rows}
    if run.task.inputs[0].modality == "text":
        tables["corrupted texts"] = shown_texts(run.task, examples, list(values), settings.seed)
    details = {"corruptions": {"clean": clean, "values": values, "examples": length(examples)}}
    return Verdict("stress", sentences, figures, tables, drawn, warnings, skipped, seconds, details)


def drop(clean: float, corrupted: float, better: str) -> float | None:
    """The share of the clean metric that is lost (or, where lower is better, added); None where the clean one is zero."""
    lost = clean - corrupted if better == "max" else corrupted - clean
    return round(lost / abs(clean), 12) if clean else None


def judged(task: Task, forward: Forward, columns: Columns, resamples: int, seed: int) -> tuple[float, np.ndarray]:
    """The headline metric, and its value on each draw; draw r is the same examples whatever was done to them."""
    metrics, predictions = asked(task, forward, columns, "auto", lambda n: None)
    name = task.headline[0]
    drawn = resample(task, columns, predictions, resamples, seed).get(name, np.empty(0))
    return metrics[name], drawn if len(drawn) else np.array([metrics[name]])


def subset(examples: Columns, most: int, seed: int) -> Columns:
    """At most `most` of the examples, drawn by the seed, in their order."""
    count = length(examples)
    if count <= most:
        return examples
    return take(examples, np.sort(np.random.default_rng((seed, count)).choice(count, most, replace=False)))


def kinds_of(task: Task) -> Sequence[str]:
    """The kinds of corruption that the modality of the first input knows."""
    modality = task.inputs[0].modality
    if task.acts:
        return corrupt_observation.KINDS
    if modality == "image":
        return tuple(corrupt_image.KINDS)
    return {"table": corrupt_table.KINDS, "text": corrupt_text.KINDS}.get(modality, ())


def corruptor(task: Task, examples: Columns, seed: int) -> Corrupt:
    """The corruption of these examples, by kind and severity, in raw form. An agent is disturbed as long as it plays."""
    if task.acts:
        name = picture_column(task)
        return lambda kind, severity: {
            **examples,
            name: corrupt_observation.Disturbed.of(examples[name], kind, severity, seed),  # type: ignore[dict-item]
        }
    if task.inputs[0].modality == "table":

        def of_rows(kind: str, severity: int) -> Columns | None:
            made: Any = corrupt_table.corrupt(examples, task.asks, kind, severity, seed)
            return None if made is None else {**examples, **made}

        return of_rows
    if task.inputs[0].modality == "text":
        written = text_columns(task, examples)

        def of_texts(kind: str, severity: int) -> Columns | None:
            made = {name: corrupt_text.corrupt(texts, kind, severity, seed) for name, texts in written.items()}
            if all(texts is None for texts in made.values()):
                return None
            return {**examples, **{name: texts for name, texts in made.items() if texts is not None}}

        return of_texts
    name = picture_column(task)
    shape = shape_of(task, examples[name])

    def of_pictures(kind: str, severity: int) -> Columns:
        column: Any = Corrupted(examples[name], shape, kind, severity, seed)
        return {**examples, name: column}

    return of_pictures


def text_columns(task: Task, examples: Columns) -> dict[str, list[str]]:
    """The raw texts that a client sends, by column; what is none (a number, a code) is left alone."""
    found = {}
    for name in task.asks:
        texts = [examples[name][i] for i in range(length(examples))]
        if all(isinstance(text, str) for text in texts):
            found[name] = [str(text) for text in texts]
    return found


def shown_texts(task: Task, examples: Columns, kinds: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """What each kind makes of one text at the middle severity: of the first ten, the one of middle length."""
    columns = text_columns(task, take(examples, range(min(10, length(examples)))))
    if not columns:
        return []
    texts = sorted(next(iter(columns.values())), key=len)
    text = texts[len(texts) // 2]
    rows = [{"kind": "clean", "text": cut(text, SHOWN)}]
    for kind in kinds:
        made = corrupt_text.corrupt([text], kind, 3, seed)
        rows += [{"kind": kind, "text": cut(made[0], SHOWN)}] if made else []
    return rows


def picture_column(task: Task) -> str:
    """The raw column that becomes the first input: the one of its name, else the first that is asked for."""
    name = task.inputs[0].name
    return name if name in task.asks else task.asks[0]


def shape_of(task: Task, column: Any) -> tuple[int, int, int]:
    """(C, H, W) at which pictures are corrupted: the input's; where its sizes vary, those of the first picture."""
    _, *dims = task.inputs[0].dims
    if all(isinstance(n, int) for n in dims):
        return tuple(dims)  # type: ignore[return-value]
    return np.asarray(column[0]).shape  # type: ignore[return-value]


class Corrupted:
    """A lazy column of pictures that are corrupted when they are asked for, so that a large set is never held twice."""

    def __init__(self, column: Any, shape: tuple[int, int, int], kind: str, severity: int, seed: int) -> None:
        self.column, self.shape, self.kind, self.severity, self.seed = column, shape, kind, severity, seed

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 (C, H, W)."""
        return self.take(np.array([index]))[0]

    def take(self, indices: np.ndarray, /) -> np.ndarray:
        """uint8 (N, C, H, W)."""
        rows = take({"picture": self.column}, indices)["picture"]
        return corrupt_image.corrupt(pictures(rows, self.shape), self.kind, self.severity, self.seed)
