"""What `lamina train` reaches within a time budget, over several seeds: `python -m benchmarks.accuracy --minutes M`.

Runs `lamina train image-classification --data FOLDER --minutes M --seed S --json` for each seed and writes accuracy on
the test part, its mean, deviation and 95% interval over seeds, and the seconds each took, to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, write
from benchmarks.kill_and_resume import LAMINA
from benchmarks.throughput import fashion_mnist

STUDENT = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
"""The 97.5% point of Student's t for that many values; 1.96 beyond ten is a little narrow, and close."""


def trained(task: str, flags: Sequence[str], folder: Path) -> dict[str, Any]:
    """`lamina train TASK FLAGS` into `folder`: its metrics, of which part, what it took. Raises SystemExit with what it said
    where it fails."""
    began = time.monotonic()
    done = subprocess.run([*LAMINA, "train", task, *flags, "--out", str(folder), "--json"], capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"lamina train {task} {' '.join(flags)}: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
    told = json.loads(done.stdout.strip().splitlines()[-1])
    info = json.loads((folder / "run.json").read_text())
    found = {"metrics": told["metrics"], "part": told["part"], "seconds": round(seconds, 1)}
    return {**found, **{name: info[name] for name in ("parameters", "precision", "recipe", "versions")}}


def once(data: Path, minutes: float, seed: int, flags: Sequence[str]) -> dict[str, Any]:
    """One training of pictures. Raises SystemExit with what it said where it fails."""
    arguments = ["--data", str(data), "--minutes", str(minutes), "--seed", str(seed), *flags]
    with tempfile.TemporaryDirectory() as folder:
        found = trained("image-classification", arguments, Path(folder) / "run")
    return {"seed": seed, "accuracy": found.pop("metrics")["accuracy"]["value"], **found}


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean's 95% interval over seeds, by Student's t; both ends the value itself where there is only one."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, mean
    half = STUDENT.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of pictures or idx files (default: Fashion-MNIST from Debian)")
    parser.add_argument("--minutes", type=float, required=True, help="the time budget of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="what follows goes to lamina train as it is")
    parser.add_argument("--name", default="accuracy", help="of the file in benchmarks/results")
    options = parser.parse_args(arguments)
    data = (options.data or fashion_mnist()).resolve()
    at, results = machine(), []
    for seed in options.seeds:
        results.append(once(data, options.minutes, seed, options.flags))
        print(f"seed {seed}: {results[-1]['accuracy']:.4f} in {results[-1]['seconds']:.0f} s", file=sys.stderr)
    values = [r["accuracy"] for r in results]
    low, high = interval(values)
    found = {
        "mean": statistics.mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "low": low,
        "high": high,
        "slowest_seconds": max(r["seconds"] for r in results),
    }
    settings = {"data": data.name, "minutes": options.minutes, "flags": options.flags}
    write(options.name, machine=at, settings=settings, **found, each=results)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
