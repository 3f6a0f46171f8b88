"""Training throughput of a decoder of 12.6 million parameters, side by side: `python -m benchmarks.decoder_throughput`.

The same network for all: the decoder that `lamina train text-generation` builds with 7 layers of 384 features and bytes for
tokens; a number that the harness compares. The same text (Python's documentation topics, which come with Python), 32 windows
of 256 tokens a batch, AdamW with weight decay and gradients clipped at 1. Measured are tokens a second from text in memory to
updated weights, after a warm-up. Contenders are run in turn and compared within a round, as in throughput.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import TRANSFORMERS
from benchmarks.harness import Contender
from benchmarks.side_by_side import add_flags, compare
from benchmarks.throughput import ALLOCATOR, BFLOAT16

PEER = "benchmarks.peers.decoder_"
CONTENDERS = (
    Contender("plain", "PyTorch loop, float32 (the baseline)", PEER + "plain"),
    Contender(
        "tuned", "PyTorch loop, tuned by hand: bfloat16, fused AdamW, huge pages", PEER + "plain", BFLOAT16, variables=ALLOCATOR
    ),
    Contender("lamina", "Lamina, defaults", PEER + "lamina"),
    Contender("lamina-float32", "Lamina, float32", PEER + "lamina", ("--precision", "float32")),
    Contender("trainer-bfloat16", "Hugging Face Trainer, bf16=True", PEER + "trainer", BFLOAT16, TRANSFORMERS),
)
BASELINE, UNIT = "plain", "tokens"


def corpus() -> str:
    """The text: a few megabytes of what Python says about itself."""
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name] for name in sorted(topics))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, "decoder_throughput", CONTENDERS, BASELINE)
    parser.add_argument("--data", type=Path, help="a text file (default: Python's documentation topics)")
    parser.add_argument("--seconds", type=float, default=30.0, help="to measure each run for, after its warm-up")
    parser.add_argument("--warmup", type=float, default=5.0, help="seconds left out, and at least five steps")
    parser.add_argument("--batch", type=int, default=32, help="windows of 256 tokens")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        data = options.data.resolve() if options.data else Path(folder) / "text.txt"
        if not options.data:
            data.write_text(corpus(), encoding="utf-8")
        settings = {name: getattr(options, name) for name in ("seconds", "warmup", "batch")}
        return compare(options, CONTENDERS, BASELINE, ["--data", str(data)], settings, UNIT)


if __name__ == "__main__":
    sys.exit(main())
