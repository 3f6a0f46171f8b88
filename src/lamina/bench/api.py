"""`lamina bench RUN [FOLDER ...]`: what a run and its variants cost, measured in turns on the same inputs.

Legend: B examples.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.answer import counted_flops
from lamina.bench.cost import energy, folder_bytes
from lamina.bench.fresh import started
from lamina.bench.inputs import encoded, made, real_columns
from lamina.bench.pictures import pareto
from lamina.bench.settings import Settings
from lamina.bench.timing import in_turns, quantile, ratio
from lamina.bench.variants import Variant, of_run, opened
from lamina.bench.words import sentences
from lamina.errors import LaminaError
from lamina.verdict import Figure, Verdict, figure

if TYPE_CHECKING:
    from lamina.ask import Asked

LONGEST_TURNS = 20.0
"""Seconds that timing one variant at one batch size may take; slower models are asked fewer times."""


def bench(asked: Asked[Settings]) -> Verdict:
    """What the run and the variants in the folders `inputs` cost. Figures are those of the first.

    Raises LaminaError where a folder holds no variant of the run.
    """
    import torch

    run, settings, inputs = asked.run, asked.settings, asked.inputs
    device, precision = asked.device, asked.precision
    quickly = {"answers": max(20, settings.answers // 10), "rounds": 5, "cold_starts": min(1, settings.cold_starts)}
    settings = (
        dataclasses.replace(settings, **quickly, largest_batch=min(64, settings.largest_batch)) if settings.quick else settings
    )
    warnings, skipped = list(other_load()), {}
    threads = torch.get_num_threads()
    try:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        stated = torch.get_num_threads()
        names = unlike([run.folder.name, *(Path(path).name for path in inputs)])
        variants = [of_run(run, names[0], device, precision)]
        variants += [opened(p, run, n, device, precision, stated) for p, n in zip(inputs, names[1:], strict=True)]
        columns = real_columns(run, asked.source, settings.part, settings.examples, settings.seed)
        if isinstance(columns, str):
            warnings.append(f"Measured on random inputs, made from what the task declares: {columns}")

        def batch_of(count: int) -> tuple[Any, ...]:
            return made(run.task, count, settings.seed) if isinstance(columns, str) else encoded(run.task, columns, count)

        rows = measured(variants, batch_of, settings, skipped)
        metric, better = run.task.headline
        if not isinstance(columns, str):
            for variant, row in zip(variants, rows, strict=True):
                row["metric"] = figure(run.task.evaluate(variant.forward, columns)[0].get(metric))
    finally:
        torch.set_num_threads(threads)
    if any(row["estimated"] for row in rows):
        warnings.append(f"Energy is {rows[0]['energy_how']}.")
    pictures = {}
    drawn = [(v, r) for v, r in zip(variants, rows, strict=True) if r.get("metric", {}).get("value") is not None]
    if drawn:
        points = [(r["latency_p50_ms"]["value"], r["metric"]["value"]) for _, r in drawn]
        sizes = [r["size_mb"]["value"] for _, r in drawn]
        path = run.pictures("bench") / "pareto.svg"
        pictures["How good against how fast"] = pareto([v.name for v, _ in drawn], points, sizes, metric, better, path)
    return Verdict(
        "bench",
        sentences=sentences([v.name for v in variants], rows, stated),
        figures={name: rows[0][name] for name in FIGURES if name in rows[0]},
        tables=tables(variants, rows, metric),
        pictures=pictures,
        warnings=tuple(warnings),
        skipped=skipped,
        details={"threads": stated, "load": os.getloadavg()[0], "cores": os.cpu_count(), "energy": rows[0]["energy_how"]},
    )


FIGURES = (
    "latency_p50_ms", "latency_p99_ms", "throughput_per_s", "cold_start_s", "peak_memory_mb", "flops", "parameters", "size_mb",
    "energy_mj_per_answer",
)  # fmt: skip


def measured(variants: list[Variant], batch_of: Any, settings: Settings, skipped: dict[str, str]) -> list[dict[str, Any]]:
    """One row a variant: figures by name, seconds of the first batch's turns, throughput by batch."""
    from lamina.terminal import progress

    one = batch_of(1)
    batches = [4**k for k in range(20) if 4**k <= settings.largest_batch]
    rows: list[dict[str, Any]] = [{"by_batch": {}} for _ in variants]
    total = len(variants) * (settings.answers + len(batches) * settings.rounds)
    with progress("timing", total) as advance:
        turns = in_turns(calls_of(variants, one), fitting(variants, one, settings), settings.rounds, advance=advance)
        for B in batches:
            batch = batch_of(B)
            taken = in_turns(calls_of(variants, batch), settings.rounds, settings.rounds, advance=advance)
            for variant, row in zip(variants, rows, strict=True):
                row["by_batch"][B] = quantile([B / s for turn in taken[variant.name] for s in turn], 0.5, settings.confidence)
    for variant, row in zip(variants, rows, strict=True):
        milliseconds = [1000 * s for turn in turns[variant.name] for s in turn]
        row["latency_p50_ms"] = quantile(milliseconds, 0.5, settings.confidence)
        row["latency_p99_ms"] = quantile(milliseconds, 0.99, settings.confidence)
        row["ratio"] = ratio(turns[variant.name], turns[variants[0].name], settings.confidence)
        row["best_batch"] = max(row["by_batch"], key=lambda B: row["by_batch"][B]["value"])
        row["throughput_per_s"] = row["by_batch"][row["best_batch"]]
        used = energy(lambda v=variant: v.forward(*one), max(20, settings.answers // 5), settings.watts_per_core)
        row |= {"energy_mj_per_answer": figure(used.millijoules), "energy_how": used.how, "estimated": used.estimated}
        row["flops"] = figure(counted_flops(lambda m=variant.model: m(*one)) if variant.model is not None else None)
        row["parameters"] = figure(variant.parameters)
        row["size_mb"] = figure(folder_bytes(variant.files) / 1e6)
        if variant.model is None:
            skipped[f"FLOPs and parameters of {variant.name}"] = "only a graph is left, whose operations are not counted"
    cold(variants, one, settings, rows, skipped)
    return rows


def cold(variants: list[Variant], one: Any, settings: Settings, rows: list[dict[str, Any]], skipped: dict[str, str]) -> None:
    """Cold start and peak memory, in turns; a variant that cannot be opened anew is told of."""
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "inputs.npz"
        np.savez(held, *[x.numpy() for x in one])
        seen: list[list[tuple[float, float]]] = [[] for _ in variants]
        for _ in range(settings.cold_starts):
            for variant, times in zip(variants, seen, strict=True):
                try:
                    times.append(started(variant.kind, variant.path, held, variant.task_file, settings.threads))
                except LaminaError as error:
                    skipped[f"cold start and memory of {variant.name}"] = str(error)
    if not settings.cold_starts:
        skipped["cold start and memory"] = "no fresh process was asked for (--cold-starts)"
    for times, row in zip(seen, rows, strict=True):
        if times:
            seconds, peaks = zip(*times, strict=True)
            row["cold_start_s"] = figure(float(np.median(seconds)), min(seconds), max(seconds))
            row["peak_memory_mb"] = figure(float(np.median(peaks)) / 1e6, min(peaks) / 1e6, max(peaks) / 1e6)


def calls_of(variants: list[Variant], batch: tuple[Any, ...]) -> dict[str, Any]:
    return {v.name: (lambda f=v.forward: f(*batch)) for v in variants}


def fitting(variants: list[Variant], one: tuple[Any, ...], settings: Settings) -> int:
    """How many answers of the slowest variant fit into the time there is, at least 20."""
    slowest = max(max(in_turns(calls_of(variants, one), 3, 1).items(), key=lambda kv: min(kv[1][0]))[1][0])
    return int(min(settings.answers, max(20, LONGEST_TURNS / max(slowest, 1e-9))))


def other_load() -> list[str]:
    """A warning where others use the processor."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load < 0.5 * cores:
        return []
    return [f"Other work kept the machine busy (a load of {load:.1f} on {cores} cores): times are longer than on an idle one."]


def unlike(names: list[str]) -> list[str]:
    """The names, numbered where two are alike."""
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def tables(variants: list[Variant], rows: list[dict[str, Any]], metric: str) -> dict[str, list[dict[str, Any]]]:
    """Costs side by side, and throughput by batch."""

    def value(row: dict[str, Any], name: str) -> float | None:
        held: Figure | None = row.get(name)
        return held["value"] if held else None

    costs = [
        {
            "variant": v.name,
            metric: value(r, "metric"),
            **{name: value(r, name) for name in FIGURES},
            "latency_to_first": value(r, "ratio"),
        }
        for v, r in zip(variants, rows, strict=True)
    ]
    growing = [
        {"variant": v.name, "batch": B, "answers_per_s": held["value"], "low": held["low"], "high": held["high"]}
        for v, r in zip(variants, rows, strict=True)
        for B, held in r["by_batch"].items()
    ]
    return {"What each costs": costs, "Throughput by batch": growing}
