"""The learning curve: a training for every subset, its figures kept as soon as they are known, so that a stopped one goes on.

    RUN/report/needs/curve.jsonl            a line a training
    RUN/report/needs/SIZE-REPEAT-KEY.npy    probabilities of every training example (N, K): for wrong labels and memorization

Legend: N training examples, K classes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lamina.data.columns import length, take
from lamina.data.source import Data
from lamina.evaluate import resample
from lamina.files import write_bytes
from lamina.needs import subsets
from lamina.needs.asking import Said, contents, said
from lamina.needs.settings import Settings
from lamina.needs.training import recipe_for, trained
from lamina.run import Run
from lamina.task import Columns, Forward, Task
from lamina.terminal import progress, say

QUICK_SIZES, QUICK_REPEATS, QUICK_SECONDS = 4, 2, 25.0
LARGEST_KEPT = 50_000_000
"""Numbers in the table of probabilities of one training; larger ones are not kept."""
CHANCE_RESAMPLES = 100
FITTED = 2000
"""Examples of its own training set that a training is judged on, at most."""


@dataclass(frozen=True)
class Training:
    """What one training taught. Errors are of the headline metric: see `error_of`."""

    size: int
    repeat: int
    steps: int
    error: float
    chance: float
    """Standard deviation of `error` by the draw of the examples it is judged on."""
    train_error: float
    """On examples that it was trained on."""
    seconds: float
    key: str
    """A hash of all that the figures depend on; a training of another key counts for nothing."""


@dataclass(frozen=True)
class Curve:
    """All trainings, and for those on a quarter and a half of the examples what they say of every training example."""

    trainings: list[Training]
    shorter: float
    """The share of the steps that was taken."""
    whole: int
    orders: dict[tuple[int, int], np.ndarray]
    """{(size, repeat): rows (size,) that were trained on}, where probabilities were kept."""
    probabilities: dict[tuple[int, int], np.ndarray]
    """{(size, repeat): (N, K)}"""


def error_of(task: Task, value: float, count: int) -> float:
    """A headline metric as an error above zero: 1 - value of a share that should be great, the value where less is better.

    No error among `count` examples is taken for half a one.
    """
    better = task.headline[1]
    return max(1.0 - value, 0.5 / max(count, 1)) if better == "max" else max(value, 1e-12)


def wanted(count: int, classes_N: np.ndarray | None, settings: Settings) -> list[tuple[int, int]]:
    """(size, repeat) of every training, the cheapest first."""
    how_many = min(QUICK_SIZES, settings.sizes) if settings.quick else settings.sizes
    repeats = min(QUICK_REPEATS, settings.repeats) if settings.quick else settings.repeats
    sizes = subsets.sizes(count, how_many, subsets.least_size(classes_N))
    return [(size, repeat) for size in sizes for repeat in range(subsets.repeats_of(size, count, repeats))]


def seconds_for(run: Run, data: Data, plan: list[tuple[int, int]]) -> list[float]:
    """What each training will take, from the pace of the run's own: steps times examples a step."""
    full, steps = recipe_for(run, data)
    pace = float(run.info.get("seconds", 0.0)) / max(1, int(run.info.get("plan", {}).get("steps", steps)) * int(full.batch_size))
    found = []
    for size, _ in plan:
        recipe, steps = recipe_for(run, dataclasses.replace(data, train=take(data.train, range(size))))
        found.append(pace * steps * min(int(recipe.batch_size), size))
    return found


def measure(
    run: Run,
    data: Data,
    judged: Columns,
    classes_N: np.ndarray | None,
    settings: Settings,
    folder: Path,
    device: str,
    precision: str | None,
) -> Curve:
    """Train on every subset that is not known yet. The run itself stands for a training on the whole, unless it was longer."""
    count = length(data.train)
    plan = wanted(count, classes_N, settings)
    estimates = seconds_for(run, data, plan)
    shorter = 1.0
    if settings.quick and sum(estimates) > QUICK_SECONDS:
        shorter = round(max(QUICK_SECONDS / sum(estimates), 0.02), 2)
    key = key_of(run, data, settings, shorter)
    known = read(folder / "curve.jsonl", key)
    to_do = [
        shorter * s for place, s in zip(plan, estimates, strict=True) if place not in known and not own(run, data, place, shorter)
    ]
    if sum(to_do) > 2:
        say(f"learning curve: {len(to_do)} trainings on {plan[0][0]:,} to {plan[-1][0]:,} examples, about {told(sum(to_do))}")
    hashes = contents(run.task, data.train)
    orders: dict[tuple[int, int], np.ndarray] = {}
    kept: dict[tuple[int, int], np.ndarray] = {}
    trainings: list[Training] = []
    with progress("learning curve", len(plan)) as advance:
        for size, repeat in plan:
            path = folder / f"{size}-{repeat}-{key}.npy"
            rows = np.sort(subsets.order(hashes, classes_N, repeat, settings.seed)[:size])
            found = known.get((size, repeat))
            if found is None:
                found = once(run, data, judged, rows, size, repeat, shorter, settings, key, path, device, precision)
                append(folder / "curve.jsonl", found)
            trainings.append(found)
            if path.is_file():
                orders[size, repeat], kept[size, repeat] = rows, np.load(path, allow_pickle=False).astype(np.float32)
            advance(1)
    return Curve(trainings, shorter, count, orders, kept)


def once(
    run: Run, data: Data, judged: Columns, rows: np.ndarray, size: int, repeat: int, shorter: float, settings: Settings,
    key: str, path: Path, device: str, precision: str | None,
) -> Training:  # fmt: skip
    """One training and its figures; what it says of the training examples is written to `path` where that will be needed."""
    began = time.monotonic()
    count = length(data.train)
    subset = take(data.train, rows)
    if own(run, data, (size, repeat), shorter):
        forward, steps = run.forward(device, precision), int(run.info.get("plan", {}).get("steps", 0))
    else:
        forward, steps = trained(
            run, dataclasses.replace(data, train=subset), settings.seed + 1000 * repeat + 1, device, precision, shorter
        )
    error, chance = judge(run.task, forward, judged, settings.seed)
    some = np.random.default_rng(settings.seed).permutation(size)[:FITTED]
    train_error, _ = judge(run.task, forward, take(subset, np.sort(some)), settings.seed, resamples=0)
    if count // 4 <= size < count:
        keep(run.task, forward, data.train, path)
    return Training(size, repeat, steps, error, chance, train_error, round(time.monotonic() - began, 2), key)


def own(run: Run, data: Data, place: tuple[int, int], shorter: float) -> bool:
    """Whether the run itself is this training."""
    trained_on_it = data.fingerprint == run.info["data"]["fingerprint"]
    return trained_on_it and place == (length(data.train), 0) and shorter == 1.0


def judge(task: Task, forward: Forward, columns: Columns, seed: int, resamples: int = CHANCE_RESAMPLES) -> tuple[float, float]:
    """The error on `columns`, and its standard deviation by the bootstrap."""
    metrics, predictions = task.evaluate(forward, columns)
    name = task.headline[0]
    count = length(columns)
    draws_R = resample(task, columns, predictions, resamples, seed).get(name, np.empty(0))
    chance = float(np.nanstd(draws_R)) if len(draws_R) else 0.0
    return error_of(task, metrics[name], count), max(chance, 0.5 / count if task.headline[1] == "max" else 0.0)


def keep(task: Task, forward: Forward, columns: Columns, path: Path) -> None:
    """Probabilities (N, K) of the training examples, where the answer is one of K classes and the table is not too large."""
    answers: Said | None = said(task, forward, columns)
    if answers is not None and answers.probability_NK.size <= LARGEST_KEPT:
        file = io.BytesIO()
        np.save(file, answers.probability_NK.astype(np.float16), allow_pickle=False)
        write_bytes(path, file.getvalue())


def key_of(run: Run, data: Data, settings: Settings, shorter: float) -> str:
    """A hash of all that a training's figures depend on, beside its size and repeat."""
    facts: dict[str, Any] = {
        "data": data.fingerprint,
        "counts": {part: length(columns) for part, columns in data.parts().items()},
        "hyperparameters": run.task.hyperparameters(),
        "recipe": dataclasses.asdict(recipe_for(run, data)[0]),
        "weights": run.info.get("weights"),
        "part": settings.part,
        "seed": settings.seed,
        "shorter": shorter,
    }
    return hashlib.blake2b(json.dumps(facts, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()


def read(path: Path, key: str) -> dict[tuple[int, int], Training]:
    """The trainings of `key` that are known. A line that was cut off by a stop is not."""
    known = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            training = Training(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if training.key == key:
            known[training.size, training.repeat] = training
    return known


def append(path: Path, training: Training) -> None:
    """Add a line, and see it written before going on. A line that a stop cut off is ended first."""
    cut = path.is_file() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * cut + json.dumps(dataclasses.asdict(training)) + "\n")
        file.flush()
        os.fsync(file.fileno())


def told(seconds: float) -> str:
    """A time in words."""
    return (
        f"{seconds:.0f} seconds"
        if seconds < 100
        else f"{seconds / 60:.0f} minutes"
        if seconds < 5400
        else f"{seconds / 3600:.1f} hours"
    )
