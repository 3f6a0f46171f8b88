"""What shrinking a run costs and gains, beside ONNX Runtime's own quantizer; and whether a student gains from its teacher.

    python -m benchmarks.shrink RUN                       every method once (minutes to hours: it trains)
    python -m benchmarks.shrink RUN --student width=0.25  the student alone and taught, five seeds each, and the gain's interval

Expected on Fashion-MNIST's network: int8 at most a sixth of eager float32's latency and a third of its size, within 0.3
points; prune-channels at half the FLOPs within 0.5 points and faster; a student 0.5 points better than alone.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from lamina.errors import LaminaError
from lamina.evaluate import evaluate
from lamina.run import Run
from lamina.shrink import int8
from lamina.shrink.measure import inputs_of, latencies
from lamina.shrink.settings import Settings
from lamina.terminal import print_table

METHODS = ("int8", "int8-weights", "int4-weights", "prune-channels", "prune", "low-rank")
COLUMNS = ("drop", "drop_from", "drop_to", "size_ratio", "flops_ratio", "latency_ratio", "latency_ratio_to_float32")
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""Student's t for a 95% interval of the mean of n differences."""


def every_method(run: Run, folder: Path, epochs: float | None, methods: tuple[str, ...] = METHODS) -> list[list[Any]]:
    """One row a method; one that does not apply says why."""
    rows: list[list[Any]] = []
    for method in methods:
        trained = {"epochs": epochs} if method in ("prune-channels", "prune", "low-rank") else {}
        try:
            verdict = run.ask("shrink", method=method, out=str(folder / method), **trained)  # type: ignore[arg-type]
        except LaminaError as error:
            rows.append([method, str(error)[:60], *[None] * (len(COLUMNS) - 1)])
            continue
        figures = verdict.figures
        drop = figures[f"{run.task.headline[0]}_drop"]
        rows.append([method, drop["value"], drop["low"], drop["high"], *(figures[name]["value"] for name in COLUMNS[3:])])
    return rows


def plain_quantizer(run: Run, folder: Path) -> list[Any]:
    """ONNX Runtime's quantizer with its defaults, by itself: same network, same calibration data, same test set."""
    from onnxruntime.quantization import quantize_static

    from lamina.export.graph import program_of, write_onnx
    from lamina.export.session import onnx_forward

    data, task = run.data(), run.task
    batches = int8.batches_of(task, data.calibration, Settings().examples)
    whole, made = folder / "float32.onnx", folder / "plain.onnx"
    write_onnx(program_of(task, run.model(), batches[0]), task, whole)
    with int8.quiet():
        quantize_static(str(whole), str(made), int8.Reader(batches, int8.names_of(whole)))  # type: ignore[arg-type]
    metric, direction = task.headline
    forward = onnx_forward(made, task)
    values = [evaluate(run, data, part="test", resamples=0, forward=f).metrics[metric]["value"] for f in (run.forward(), forward)]
    drop = 100 * ((values[0] or 0.0) - (values[1] or 0.0)) * (1 if direction == "max" else -1)
    times = latencies(
        {"plain": forward, "own": run.forward(), "float32": run.forward(precision="float32")}, inputs_of(task, data.test, 1)
    )
    size = made.stat().st_size / (run.folder / "model.safetensors").stat().st_size
    return [
        "onnxruntime's defaults",
        drop,
        None,
        None,
        size,
        1.0,
        times["plain"] / times["own"],
        times["plain"] / times["float32"],
    ]


def taught_and_alone(run: Run, folder: Path, student: str, seeds: int, epochs: float | None) -> list[list[Any]]:
    """The student's headline on the test set, taught and alone (`--soft 0`): one row a seed, then the mean gain."""
    metric, direction = run.task.headline
    rows: list[list[Any]] = []
    for seed in range(seeds):
        found = []
        for name, soft in (("taught", Settings().soft), ("alone", 0.0)):
            place = str(folder / f"{name}-{seed}")
            verdict = run.ask("shrink", method="distill", student=student, soft=soft, seed=seed, epochs=epochs, out=place)
            found.append(verdict.figures[metric]["value"] or 0.0)
        rows.append([seed, *found, (found[0] - found[1]) * (1 if direction == "max" else -1)])
    gains = [row[3] for row in rows]
    wide = T_95.get(seeds, 2.0) * statistics.stdev(gains) / seeds**0.5 if seeds > 1 else float("nan")
    rows.append(["mean, half of the 95% interval", statistics.mean(gains), wide, None])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--epochs", type=float, default=None)
    parser.add_argument("--student", default=None)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    run = Run.load(given.run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.student:
            rows = taught_and_alone(run, folder, given.student, given.seeds, given.epochs)
            print_table(["seed", "taught", "alone", "gain"], rows, f"{run.folder}: student {given.student}")
            return
        rows = [*every_method(run, folder, given.epochs), plain_quantizer(run, folder)]
        print_table(["method", *COLUMNS], rows, f"{run.folder}: cost in points, gains as ratios")


if __name__ == "__main__":
    main()
