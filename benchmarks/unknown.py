"""Does a model tell classes that it was never shown? `python -m benchmarks.unknown`.

Trains on Fashion-MNIST without two classes and scores the four methods of `lamina stress` on test pictures of the eight
classes against those of the two: the hard case, for the two look much like the others. Beside them, the easier sets of
`lamina stress` itself, and ECE before and after temperature scaling, on the same test pictures, beside scikit-learn's
`CalibratedClassifierCV` fitted to the same calibration examples.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import lamina
from benchmarks.harness import machine, write
from benchmarks.throughput import fashion_mnist
from lamina.data.source import Data, Source
from lamina.evaluate import joined
from lamina.find import find_task
from lamina.stress import calibration
from lamina.stress.calibration_part import calibration_part
from lamina.stress.held import Held, hold
from lamina.stress.settings import Settings
from lamina.stress.substitutes import substitutes
from lamina.stress.unknown_part import unknown_part


def without(data: Data, classes: Sequence[str]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Training arrays {images, labels} of the other classes, and the test pictures of `classes`."""
    shown = joined([data.train, data.valid, data.calibration])
    images, labels = np.stack(list(shown["image"])), np.asarray(shown["label"])
    known = ~np.isin(labels, classes)
    test = np.isin(np.asarray(data.test["label"]), classes)
    return {"images": images[known], "labels": labels[known]}, data.test["image"].array()[test]  # type: ignore[attr-defined]


def peers(held: Held) -> dict[str, float]:
    """ECE on the test examples after each of scikit-learn's calibrations of the same probabilities."""
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator

    class Given(ClassifierMixin, BaseEstimator):
        """Answers with the logits that it is given."""

        def fit(self, x: np.ndarray, y: np.ndarray) -> Given:
            self.classes_ = np.unique(y)
            return self

        def decision_function(self, x: np.ndarray) -> np.ndarray:
            return x

        def predict(self, x: np.ndarray) -> np.ndarray:
            return self.classes_[x.argmax(1)]

    assert held.fitting is not None
    found = {}
    given = Given().fit(held.fitting.logits_NK, held.fitting.truth_N)  # type: ignore[arg-type]
    for method in ("sigmoid", "isotonic", "temperature"):
        try:
            made = CalibratedClassifierCV(FrozenEstimator(given), method=method).fit(held.fitting.logits_NK, held.fitting.truth_N)  # type: ignore[arg-type]
        except ValueError:  # scikit-learn before 1.8 has no temperature scaling
            continue
        p_NK = np.asarray(made.predict_proba(held.test.logits_NK))
        sure_N, right_N = p_NK.max(1), (p_NK.argmax(1) == held.test.truth_N).astype(np.float64)
        found[method] = calibration.ece(calibration.binned(sure_N, right_N, calibration.bin_numbers(sure_N)))
    return found


def once(path: Path, classes: Sequence[str], flags: dict[str, Any], seed: int) -> dict[str, Any]:
    """One training, and what is told apart afterwards."""
    kind = find_task("image-classification")
    arrays, strangers = without(kind().read(Source(data=str(path))), classes)
    source = Source(data=(arrays["images"], arrays["labels"]))
    with tempfile.TemporaryDirectory() as folder:
        run = lamina.train("image-classification", source, out=f"{folder}/run", seed=seed, quiet=True, tensorboard=False, **flags)
        settings = Settings(seed=seed, store=False)
        held = hold(run, run.task.read(source), settings, run.forward(calibrated=False), 256)
        calibrated = calibration_part(held, settings)
        plain = held
        held = held.at(calibrated.details["temperature"])
        batch = run.task.encode({"image": strangers}, "predict")
        rng = np.random.default_rng(seed)
        some = held.test.rows(np.sort(rng.permutation(len(held.test))[:2000])).columns
        sets = {f"held out: {', '.join(classes)}": batch, **dict(substitutes(run.task, some, False, seed))}
        unknown = unknown_part(held, replace(settings, store=False), sets)
        return {
            "seed": seed,
            "accuracy": run.info["metrics"]["accuracy"]["value"],
            "chosen": unknown.details["unknown_method"],
            "rows": unknown.tables["unknown_inputs"],
            "ece": {name: f["value"] for name, f in calibrated.figures.items() if name.startswith("ece")},
            "ece_scikit_learn": peers(plain),
            "temperature": calibrated.details["temperature"],
        }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of pictures or idx files (default: Fashion-MNIST from Debian)")
    parser.add_argument("--classes", nargs=2, default=["4", "8"], help="the two classes that are held out")
    parser.add_argument("--epochs", type=float, default=8)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--name", default="unknown", help="of the file in benchmarks/results")
    options = parser.parse_args(arguments)
    path = (options.data or fashion_mnist()).resolve()
    at, results = machine(), []
    for seed in options.seeds:
        results.append(once(path, options.classes, {"epochs": options.epochs, "model_name": options.model}, seed))
        rows = results[-1]["rows"]
        for row in rows:
            print(
                f"seed {seed}: {row['unknown']}: {row['method']} AUROC {row['auroc']:.3f}, FPR@95 {row['fpr95']:.3f}",
                file=sys.stderr,
            )
    best = {r["seed"]: max(row["auroc"] for row in r["rows"] if row["unknown"].startswith("held out")) for r in results}
    write(
        options.name, machine=at, settings={"data": path.name, "classes": options.classes, "epochs": options.epochs}, each=results
    )
    print(json.dumps({"best_auroc_held_out": best, "ece": [r["ece"]["ece"] for r in results]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
