"""Texts into classes, beside TF-IDF with logistic regression: `python -m benchmarks.text_classification SET --data FOLDER`.

    python -m benchmarks.text_classification sst2 --data FOLDER --model lstm transformer --minutes 5
    python -m benchmarks.text_classification sst2 --data FOLDER --pretrained MINILM --minutes 10
    python -m benchmarks.text_classification sections --minutes 15
    python -m benchmarks.text_classification spam --minutes 5

sst2 is a folder of train, dev (or valid) and test, `text<TAB>label` a line (Socher et al. 2013; 6,920, 872 and 1,821 sentences
in two classes); sections and spam are made by language_data.py. Every contender learns from the training part, is chosen on the
validation part, and is asked about the test part once a seed.

The linear baseline: TF-IDF of words (1 or 2), of characters within words (2 to 5), or both, and the strength of the penalty,
chosen on the validation part. Its interval is over test examples (bootstrap), as each training's own is; a mean's is over seeds.
Results go to benchmarks/results/SET.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import interval, trained
from benchmarks.harness import machine, write
from benchmarks.language_data import made

Part = tuple[list[str], list[str]]
"""Texts and their labels."""
NAMES = {"train": ("train",), "valid": ("valid", "dev", "validation"), "test": ("test",)}
PENALTIES = (1.0, 3.0, 10.0, 30.0)
"""Inverse strengths, C of scikit-learn."""
FEATURES = 100_000
"""The most frequent of each kind: 58 classes of a million features do not fit into memory."""
RESAMPLES = 1000


def read(folder: Path) -> dict[str, Part]:
    """train, valid and test of a folder of `text<TAB>label` or of JSON lines. Raises SystemExit where a part is missing."""
    parts: dict[str, Part] = {}
    for part, names in NAMES.items():
        path = next((p for name in names for p in sorted(folder.glob(f"{name}.*"))), None)
        if path is None:
            raise SystemExit(f"{folder}: expected a file {names[0]}.tsv or {names[0]}.jsonl; found none")
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        rows = [json.loads(line) for line in lines] if path.suffix == ".jsonl" else [tabbed(line) for line in lines]
        parts[part] = [row["text"] for row in rows], [str(row["label"]) for row in rows]
    return parts


def tabbed(line: str) -> dict[str, str]:
    text, _, label = line.rpartition("\t")
    return {"text": text, "label": label}


def write_parts(parts: dict[str, Part], folder: Path, cut: int | None) -> None:
    """As JSON lines, with at most `cut` training examples: for a quick look."""
    for part, (texts, labels) in parts.items():
        rows = zip(texts[:cut], labels[:cut], strict=True)
        told = (json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in rows)
        (folder / f"{part}.jsonl").write_text("".join(told), encoding="utf-8")


def linear(parts: dict[str, Part], penalties: Sequence[float] = PENALTIES, kinds: Sequence[str] = ()) -> dict[str, Any]:
    """TF-IDF and logistic regression, chosen on valid; accuracy and macro F1 on test."""
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    common: dict[str, Any] = {"sublinear_tf": True, "max_features": FEATURES, "dtype": np.float32}
    words = {
        "words": TfidfVectorizer(token_pattern=r"\S+", **common),
        "words 1-2": TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), min_df=2, **common),
        "characters 2-5": TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), min_df=2, **common),
    }
    iterations = 1000 if len(set(parts["train"][1])) <= 10 else 100
    began = time.monotonic()
    tried: list[dict[str, Any]] = []
    best: tuple[float, Any, Any] | None = None
    seen: dict[str, Any] = {}
    for kind in kinds or (*words, "words 1-2 and characters 2-5"):
        vectorizers = [words[name] for name in kind.split(" and ")]
        for name, vectorizer in zip(kind.split(" and "), vectorizers, strict=True):
            if name not in seen:
                seen[name] = vectorizer.fit_transform(parts["train"][0]), vectorizer.transform(parts["valid"][0])
        train, valid = (stacked([seen[name][i] for name in kind.split(" and ")]) for i in (0, 1))
        for penalty in penalties:
            model = LogisticRegression(C=penalty, max_iter=iterations).fit(train, parts["train"][1])
            accuracy = float(model.score(valid, parts["valid"][1]))
            tried.append({"features": kind, "C": penalty, "valid_accuracy": accuracy})
            print(f"linear: {kind}, C {penalty:g}: {accuracy:.4f} on valid", file=sys.stderr)
            if best is None or accuracy > best[0]:
                best = accuracy, model, vectorizers
    assert best is not None
    said = best[1].predict(stacked([vectorizer.transform(parts["test"][0]) for vectorizer in best[2]]))
    truth = np.asarray(parts["test"][1])
    right = said == truth
    draws = np.random.default_rng(0).integers(0, len(right), (RESAMPLES, len(right)))
    low, high = np.quantile(right[draws].mean(1), [0.025, 0.975])
    chosen = max(tried, key=lambda row: row["valid_accuracy"])
    return {
        "chosen": chosen,
        "accuracy": {"value": float(right.mean()), "low": float(low), "high": float(high)},
        "macro_f1": float(f1_score(truth, said, average="macro")),
        "seconds": round(time.monotonic() - began, 1),
        "tried": tried,
    }


def stacked(matrices: list[Any]) -> Any:
    from scipy.sparse import csr_matrix, hstack

    return csr_matrix(hstack(matrices)) if len(matrices) > 1 else matrices[0]


def over_seeds(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean test accuracy of trainings that differ in their seed, with Student's interval."""
    values = [one["metrics"]["accuracy"]["value"] for one in each]
    low, high = interval(values)
    return {"mean": statistics.mean(values), "low": low, "high": high, "slowest_seconds": max(one["seconds"] for one in each)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("sst2", "sections", "spam"))
    parser.add_argument("--data", type=Path, help="a folder of train, valid and test (needed for sst2)")
    parser.add_argument("--model", nargs="+", default=["auto"], help="networks, each with every seed")
    parser.add_argument("--minutes", type=float, help="of each training (default: the task's own epochs)")
    parser.add_argument("--epochs", type=float)
    parser.add_argument("--pretrained", type=Path, help="a folder of a pretrained encoder, in place of --model")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="none: the linear baseline alone")
    parser.add_argument("--cut", type=int, help="examples a part at most, for a quick look")
    parser.add_argument("--no-linear", action="store_true")
    kinds = ("words", "words 1-2", "characters 2-5", "words 1-2 and characters 2-5")
    parser.add_argument(
        "--kinds",
        nargs="*",
        default=kinds,
        choices=kinds,
        help="features of the linear baseline: of many classes characters take an hour",
    )
    parser.add_argument("--name", help="of the file in benchmarks/results (default: the set's)")
    parser.add_argument("--flags", nargs=argparse.REMAINDER, default=[], help="what follows goes to lamina train as it is")
    options = parser.parse_args(arguments)
    if options.set == "sst2" and options.data is None:
        parser.error("sst2: expected --data FOLDER")
    at, parts = machine(), read(options.data or made(options.set))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / options.set
        data.mkdir()
        write_parts(parts, data, options.cut)
        if not options.no_linear:
            found["linear"] = linear(read(data), kinds=options.kinds)
            print(f"linear: {found['linear']['accuracy']['value']:.4f} on test", file=sys.stderr)
        length = [f"--{name}={value}" for name in ("minutes", "epochs") if (value := getattr(options, name)) is not None]
        choices = {"pretrained": [f"--pretrained={options.pretrained.resolve()}"]} if options.pretrained else {}
        for name, flags in (choices or {name: [f"--model={name}"] for name in options.model}).items():
            each = []
            for seed in options.seeds:
                asked = [f"--data={data}", f"--seed={seed}", *length, *flags, *options.flags]
                each.append({"seed": seed, **trained("text-classification", asked, Path(place) / f"{name}-{seed}")})
                print(f"{name}, seed {seed}: {each[-1]['metrics']['accuracy']['value']:.4f}", file=sys.stderr)
            if each:
                found[name] = {**over_seeds(each), "each": each}
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    command = ["python", "-m", "benchmarks.text_classification", *(arguments or sys.argv[1:])]
    counts = {part: min(len(texts), options.cut or len(texts)) for part, (texts, _) in parts.items()}
    path = write(options.name or options.set, machine=at, command=command, settings=settings, counts=counts, contenders=found)
    for name, figures in found.items():
        f = figures if "mean" in figures else {**figures["accuracy"], "mean": figures["accuracy"]["value"]}
        print(f"{name:<16}{100 * f['mean']:.2f}% ({100 * f['low']:.2f} to {100 * f['high']:.2f})")
    print(f"-> {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
