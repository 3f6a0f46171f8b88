"""A decoder trained by `lamina.train` at its defaults but for what makes the work comparable. Timed as in peers/lamina.py."""

import argparse

from benchmarks.peers.common import Clock, main
from benchmarks.peers.lamina import timed
from benchmarks.peers.language import BETAS, CLIP, CONTEXT, DECAY, RATE, SETTINGS


def train(options: argparse.Namespace, clock: Clock) -> None:
    timed(
        options,
        clock,
        "text-generation",
        options.batch * CONTEXT,
        **SETTINGS,
        optimizer="adamw",
        lr=RATE,
        momentum=BETAS[0],
        weight_decay=DECAY,
        clip=CLIP,
        epochs=1000,
    )


if __name__ == "__main__":
    main(train, "lamina", unit="tokens")
