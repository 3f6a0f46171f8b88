"""Training throughput on Fashion-MNIST, side by side: `python -m benchmarks.throughput`, or `make bench`.

The same ResNet-20 (He et al. 2016, section 4.2; one input channel, 272,186 weights), the same pictures from memory, the
same augmentation (random mirror, random crop after padding by 2), the same batch of 256, SGD with Nesterov's momentum.
Measured are images a second from uint8 arrays to updated weights, after a warm-up. See README.md for what each does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import FASTAI, KERAS, LIGHTNING, TRANSFORMERS
from benchmarks.harness import Contender
from benchmarks.side_by_side import add_flags, compare

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""What a careful person sets for PyTorch on a CPU: freed memory is kept, and held in huge pages."""

BFLOAT16 = ("--precision", "bfloat16")
TORCH = {"KERAS_BACKEND": "torch"}
PEERS = "benchmarks.peers."

CONTENDERS = (
    Contender("plain", "PyTorch loop, float32 (the baseline)", PEERS + "plain"),
    Contender("plain-workers", "PyTorch loop, float32, 2 loading processes", PEERS + "plain", ("--workers", "2")),
    Contender("tuned", "PyTorch loop, tuned by hand, bfloat16", PEERS + "tuned", variables=ALLOCATOR),
    Contender("lamina", "Lamina, defaults", PEERS + "lamina"),
    Contender("lamina-float32", "Lamina, float32", PEERS + "lamina", ("--precision", "float32")),
    Contender("lightning", "Lightning, defaults (float32)", PEERS + "lightning", (), LIGHTNING),
    Contender("lightning-bfloat16", 'Lightning, precision="bf16-mixed"', PEERS + "lightning", BFLOAT16, LIGHTNING),
    Contender("trainer", "Hugging Face Trainer, defaults (float32)", PEERS + "trainer", (), TRANSFORMERS),
    Contender("trainer-bfloat16", "Hugging Face Trainer, bf16=True", PEERS + "trainer", BFLOAT16, TRANSFORMERS),
    Contender("fastai", "fastai Learner, defaults (float32; its to_bf16 has no effect on a CPU)", PEERS + "fastai", (), FASTAI),
    Contender("keras", "Keras 3 on torch, defaults (float32)", PEERS + "keras", (), KERAS, TORCH),
    Contender("keras-bfloat16", "Keras 3 on torch, mixed_bfloat16", PEERS + "keras", BFLOAT16, KERAS, TORCH),
)
BASELINE = "plain"
CACHE = Path(__file__).parent / ".data" / "fashion-mnist"
PACKAGE = "dataset-fashion-mnist"


def fashion_mnist() -> Path:
    """The folder of Fashion-MNIST's idx files, from Debian's package of it, unpacked once."""
    if not (CACHE / "train-images-idx3-ubyte.gz").exists():
        print(f"getting {PACKAGE}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True, stdout=sys.stderr)
            archive = next(Path(folder).glob("*.deb"))
            subprocess.run(["dpkg", "-x", str(archive), folder], check=True)
            CACHE.parent.mkdir(exist_ok=True)
            subprocess.run(["cp", "-r", f"{folder}/usr/share/datasets/fashion-mnist", str(CACHE)], check=True)
    return CACHE


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_flags(parser, "throughput", CONTENDERS, BASELINE)
    parser.add_argument("--data", type=Path, help="a folder of Fashion-MNIST's four idx.gz files (default: Debian's package)")
    parser.add_argument("--seconds", type=float, default=10.0, help="to measure each run for, after its warm-up")
    parser.add_argument("--warmup", type=float, default=3.0, help="seconds left out, and at least five steps")
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args(arguments)
    data = (options.data or fashion_mnist()).resolve()
    settings = {name: getattr(options, name) for name in ("seconds", "warmup", "batch")}
    return compare(options, CONTENDERS, BASELINE, ["--data", str(data)], settings)


if __name__ == "__main__":
    sys.exit(main())
