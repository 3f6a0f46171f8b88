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
from benchmarks.harness import Contender, Failed, machine, measure, run, summary, table, write

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
    names = [c.name for c in CONTENDERS]
    parser.add_argument("--data", type=Path, help="a folder of Fashion-MNIST's four idx.gz files (default: Debian's package)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}; {BASELINE} always runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="to measure each run for, after its warm-up")
    parser.add_argument("--warmup", type=float, default=3.0, help="seconds left out, and at least five steps")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, help="of every contender (default: one a core)")
    parser.add_argument("--name", default="throughput", help="of the file in benchmarks/results")
    options = parser.parse_args(arguments)
    at = machine()
    threads = options.threads or at["cores"]
    chosen = {c.name: c for c in CONTENDERS if options.only is None or c.name in (BASELINE, *options.only)}
    data = (options.data or fashion_mnist()).resolve()
    flags = [
        "--data",
        str(data),
        "--seconds",
        str(options.seconds),
        "--warmup",
        str(options.warmup),
        "--batch",
        str(options.batch),
    ]
    results, failures = measure(list(chosen), options.rounds, lambda name: run(chosen[name], flags, threads))
    about = {name: c.about for name, c in chosen.items()}
    try:
        figures = summary(results, BASELINE)
    except Failed as error:
        raise SystemExit(str(error)) from error
    settings = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "warmup": options.warmup,
        "batch": options.batch,
        "threads": threads,
    }
    path = write(
        options.name,
        machine=at,
        settings=settings,
        baseline=BASELINE,
        summary=figures,
        failures=failures,
        about=about,
        variables={name: dict(c.variables) for name, c in chosen.items() if c.variables},
        rounds=results,
    )
    where = f"{threads} threads, {at['cores']} cores of {at['cpu']} ({', '.join(at['flags'])})"
    print(f"\nMedians of {options.rounds} rounds; {where}.\n")
    print(table(figures, about, failures))
    print(f"\n-> {path}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
