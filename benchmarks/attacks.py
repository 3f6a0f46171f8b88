"""Attacks beside torchattacks: the same model, examples, radius, steps and queries; the accuracy that each leaves.

    python -m benchmarks.attacks --data FOLDER [--examples 300] [--steps 20] [--queries 300] [--norm linf l2] [--adversarial 25.5]

FOLDER holds idx files (Fashion-MNIST as Debian's package `dataset-fashion-mnist` brings it). A convnet is trained on some
thousand of its pictures for some seconds, plainly or against PGD. torchattacks works in 0..1, so it gets the model behind a
factor of 255. Exit status 1 where an attack of ours leaves more accuracy than theirs by over half a point.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lamina
from benchmarks.harness import machine, write
from benchmarks.peers.common import load
from lamina.stress.apgd import apgd
from lamina.stress.search import search
from lamina.stress.steps import Found, fgsm, pgd
from lamina.stress.victim import Victim, at_rest

RADII = {"linf": 25.5, "l2": 1.5 * 255}
POINT = 0.005
"""Half a point: how much more accuracy ours may leave."""


class InUnits(nn.Module):
    """Logits of pictures in 0..1, as torchattacks wants a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.model(255 * x_BCHW)["logits"]


def ours(victim: Victim, steps: int, queries: int, seed: int) -> dict[str, Callable[[], Found]]:
    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    return {
        "fgsm": lambda: fgsm(victim, "score"),
        "pgd": lambda: pgd(victim, "score", steps, 1, seeded()),
        "apgd_ce": lambda: apgd(victim, "score", steps, 1, seeded()),
        "apgd_dlr": lambda: apgd(victim, "dlr", steps, 1, seeded()),
        "square": lambda: search(victim, "margin", queries, seeded()),
    }


def theirs(model: nn.Module, norm: str, eps: float, steps: int, queries: int) -> dict[str, Any]:
    """torchattacks' own at the same budget. It has no FGSM in l2."""
    import torchattacks

    name, size = {"linf": "Linf", "l2": "L2"}[norm], 2.5 * eps / steps
    step = torchattacks.PGD if norm == "linf" else torchattacks.PGDL2
    attacks = {
        "pgd": step(model, eps=eps, alpha=size, steps=steps),
        "apgd_ce": torchattacks.APGD(model, norm=name, eps=eps, steps=steps, n_restarts=1, loss="ce"),
        "apgd_dlr": torchattacks.APGD(model, norm=name, eps=eps, steps=steps, n_restarts=1, loss="dlr"),
        "square": torchattacks.Square(model, norm=name, eps=eps, n_queries=queries, n_restarts=1, loss="margin"),
    }
    return {"fgsm": torchattacks.FGSM(model, eps=eps), **attacks} if norm == "linf" else attacks


def side_by_side(
    task: Any, model: nn.Module, batch: dict[str, Tensor], norm: Any, eps: float, steps: int, queries: int, seeds: int
) -> list[dict[str, Any]]:
    """A row an attack: the accuracy that ours and theirs leave, and the seconds they take, each the mean over seeds."""
    unit, label = InUnits(model).eval(), batch["label"]
    victim = Victim.of(task, model, batch, 1.0, norm, eps)
    rows = []
    with at_rest(model):
        peers = theirs(unit, norm, eps / 255, steps, queries)
        for name in ours(victim, steps, queries, 0):
            left: dict[str, list[float]] = {"ours": [], "seconds": [], "theirs": [], "their_seconds": []}
            for seed in range(seeds):
                began = time.perf_counter()
                found = ours(victim, steps, queries, seed)[name]()
                left["seconds"].append(time.perf_counter() - began)
                left["ours"].append(1 - float(found.fooled.float().mean()))
                if name in peers:
                    torch.manual_seed(seed)
                    peers[name].seed = seed  # which some of them set themselves
                    began = time.perf_counter()
                    x = peers[name](batch["image"].float() / 255, label)
                    left["their_seconds"].append(time.perf_counter() - began)
                    left["theirs"].append(float((unit(x).argmax(1) == label).float().mean()))
            rows.append({"norm": norm, "attack": name} | {key: statistics.mean(found) for key, found in left.items() if found})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=int, default=4000)
    parser.add_argument("--examples", type=int, default=300)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--training-steps", type=int, default=300)
    parser.add_argument("--norm", nargs="+", choices=list(RADII), default=list(RADII))
    parser.add_argument("--adversarial", type=float, default=0.0, help="train against PGD of this size, in raw units")
    parser.add_argument("--radius", type=float, default=1.0, help="times 0.1 of the range in linf, 1.5 in l2")
    parser.add_argument("--model", default="convnet")
    parser.add_argument("--seeds", type=int, default=3, help="of every attack; the figures are means over them")
    options = parser.parse_args()
    if importlib.util.find_spec("torchattacks") is None:
        sys.exit("benchmarks.attacks: expected the package torchattacks: pip install --no-deps torchattacks")
    images, labels = load(options.data)
    some = slice(0, options.train)
    with tempfile.TemporaryDirectory() as folder:
        run = lamina.train(
            "image-classification",
            data=(images[some].numpy(), labels[some].numpy()),
            out=f"{folder}/run",
            model_name=options.model,
            width=0.25,
            steps=options.training_steps,
            batch_size=64,
            evaluations=1,
            adversarial=options.adversarial,
            adversarial_steps=3,
            precision="float32",
            quiet=True,
            tensorboard=False,
        )
        model, task = run.model(), run.task
    held = slice(options.train, options.train + options.examples)
    batch = {"image": images[held], "label": labels[held].long()}
    budget = options.steps, options.queries, options.seeds
    rows = [row for n in options.norm for row in side_by_side(task, model, batch, n, options.radius * RADII[n], *budget)]
    with torch.no_grad():
        clean = float((model(batch["image"])["logits"].argmax(1) == batch["label"]).float().mean())
    print(f"clean {clean:.4f}")
    for row in rows:
        peer = f"{row['theirs']:.4f} in {row['their_seconds']:.1f} s" if "theirs" in row else "-"
        print(f"{row['norm']:<6}{row['attack']:<10} ours {row['ours']:.4f} in {row['seconds']:.1f} s, torchattacks {peer}")
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    write(
        "attacks" + ("_adversarial" if options.adversarial else ""), machine=machine(), settings=settings, clean=clean, rows=rows
    )
    return int(any(row["ours"] > row["theirs"] + POINT for row in rows if "theirs" in row))


if __name__ == "__main__":
    sys.exit(main())
