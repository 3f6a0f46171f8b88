"""A decoder trained by `lamina.train` at its defaults but for what makes the work comparable. Timed as in peers/lamina.py."""

import argparse
import json
import tempfile
import threading
from pathlib import Path

import lamina
from benchmarks.peers.common import Clock, Finished, main
from benchmarks.peers.lamina import rows, stop_in_time, window
from benchmarks.peers.language import BETAS, CLIP, CONTEXT, DECAY, RATE, SETTINGS


def train(options: argparse.Namespace, clock: Clock) -> None:
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        threading.Thread(target=stop_in_time, args=(folder / "metrics.jsonl", clock), daemon=True).start()
        try:
            lamina.train(
                "text-generation",
                data=str(options.data),
                **SETTINGS,
                batch_size=options.batch,
                optimizer="adamw",
                lr=RATE,
                momentum=BETAS[0],
                weight_decay=DECAY,
                clip=CLIP,
                epochs=1000,
                evaluations=1,
                threads=options.threads,
                precision={"default": "auto"}.get(options.precision, options.precision),
                out=str(folder),
            )
        except KeyboardInterrupt:
            clock.parameters = json.loads((folder / "run.json").read_text())["parameters"]
            clock.steps, clock.elapsed = window(rows(folder / "metrics.jsonl"), clock) or (0, 0.0)
            clock.images = clock.steps * options.batch * CONTEXT
            raise Finished("the time is up") from None


if __name__ == "__main__":
    main(train, "lamina", unit="tokens")
