"""`lamina.train` through its public API, at its defaults: only what makes the work comparable is set.

Lamina writes a row of figures, its seconds among them, into metrics.jsonl after every ten steps. A thread reads them, and
presses Ctrl-C when the time to measure is up.
"""

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import lamina
from benchmarks.peers.common import DECAY, MOMENTUM, PAD, RATE, WARMUP_STEPS, Clock, Finished, main


def train(options: argparse.Namespace, clock: Clock) -> None:
    timed(
        options,
        clock,
        "image-classification",
        options.batch,
        model_name="resnet20",
        augment_with="light",
        mirror="on",
        shift=PAD,
        optimizer="sgd",
        lr=RATE,
        momentum=MOMENTUM,
        weight_decay=DECAY,
        epochs=100,
    )


def timed(options: argparse.Namespace, clock: Clock, task: str, units: int, **settings: Any) -> None:
    """Trains until the time to measure is up. units: what a step counts for."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        threading.Thread(target=stop_in_time, args=(folder / "metrics.jsonl", clock), daemon=True).start()
        try:
            lamina.train(
                task,
                data=str(options.data),
                batch_size=options.batch,
                evaluations=1,
                threads=options.threads,
                precision={"default": "auto"}.get(options.precision, options.precision),
                out=str(folder),
                **settings,
            )
        except KeyboardInterrupt:
            clock.parameters = json.loads((folder / "run.json").read_text())["parameters"]
            clock.steps, clock.elapsed = window(rows(folder / "metrics.jsonl"), clock) or (0, 0.0)
            clock.images = clock.steps * units
            raise Finished("the time is up") from None


def stop_in_time(path: Path, clock: Clock) -> None:
    while window(rows(path), clock) is None:
        time.sleep(0.25)
    os.kill(os.getpid(), signal.SIGINT)


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of training steps that are written whole."""
    whole = path.read_text().split("\n")[:-1] if path.exists() else []
    return [row for row in map(json.loads, whole) if row["part"] == "train"]


def window(rows: list[dict[str, Any]], clock: Clock) -> tuple[int, float] | None:
    """Steps and seconds from the end of the warm-up on; None while too few have passed."""
    warm = next((r for r in rows if r["step"] >= WARMUP_STEPS and r["seconds"] >= clock.warmup), None)
    last = warm and next((r for r in rows if r["seconds"] >= warm["seconds"] + clock.seconds), None)
    return (last["step"] - warm["step"], last["seconds"] - warm["seconds"]) if warm and last else None


if __name__ == "__main__":
    main(train, "lamina")
