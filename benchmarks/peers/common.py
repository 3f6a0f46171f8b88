"""What every contender shares: the pictures, their augmentation, the network, the clock.

A contender is a module with `train(options, clock)`, run as `python -m benchmarks.peers.NAME`. It calls
`clock.step(images)` after every training step; the clock leaves out the warm-up, and raises `Finished` when the time
is up. `main` prints one line of JSON.

Shapes: N pictures in the set, B in a batch, C channels (1), H and W pixels.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

PAD = 2
"""Pixels of zeros around a picture before a random crop of the picture's own size."""
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
"""SGD with Nesterov's momentum, the same everywhere."""
MEAN, STD = 72.94, 90.02
"""Of the training pixels of Fashion-MNIST, in 0..255."""
CLASSES = 10
WARMUP_STEPS = 5


class Finished(Exception):
    """The time to measure is up."""


class Clock:
    """Counts images (or tokens) and seconds, after a warm-up of `warmup` seconds and WARMUP_STEPS steps at least."""

    def __init__(self, seconds: float, warmup: float) -> None:
        self.seconds, self.warmup = seconds, warmup
        self.steps = self.images = 0
        self.created = time.perf_counter()
        self.began: float | None = None
        self.elapsed = 0.0
        self.parameters = 0
        """How many weights the contender trains: it says so before its first step, and all must agree."""

    def step(self, images: int) -> None:
        """A training step of that many images has ended. Raises Finished when the time is up."""
        now = time.perf_counter()
        self.steps += 1
        if self.began is None:
            if self.steps >= WARMUP_STEPS and now - self.created >= self.warmup:
                self.began, self.steps = now, 0
            return
        self.images += images
        self.elapsed = now - self.began
        if self.elapsed >= self.seconds:
            raise Finished("the time is up")


class Pictures(Dataset[tuple[Tensor, int]]):
    """The training pictures, each flipped and cropped at random when it is asked for: (uint8 (C, H, W), class)."""

    def __init__(self, folder: Path) -> None:
        self.images_NCHW, self.labels_N = load(folder)

    def __len__(self) -> int:
        return len(self.labels_N)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        x_CHW = self.images_NCHW[index]
        height, width = x_CHW.shape[-2:]
        top, left = torch.randint(0, 2 * PAD + 1, (2,)).tolist()
        x_CHW = functional.pad(x_CHW, (PAD, PAD, PAD, PAD))[:, top : top + height, left : left + width]
        if torch.rand(()) < 0.5:
            x_CHW = x_CHW.flip(-1)
        return x_CHW, int(self.labels_N[index])


def loader(options: argparse.Namespace, kind: type[Pictures] = Pictures) -> DataLoader:
    """The pictures in shuffled batches, loaded as in PyTorch's tutorial: in the training process unless --workers says more."""
    return DataLoader(kind(options.data), batch_size=options.batch, shuffle=True, drop_last=True, num_workers=options.workers)


def load(folder: Path) -> tuple[Tensor, Tensor]:
    """Images (N, 1, H, W) uint8 and labels (N,) int64 of the training part, from the idx files of the MNIST family."""
    images_NHW = read_idx(folder / "train-images-idx3-ubyte.gz")
    labels_N = read_idx(folder / "train-labels-idx1-ubyte.gz")
    return torch.from_numpy(images_NHW)[:, None], torch.from_numpy(labels_N).long()


def read_idx(path: Path) -> np.ndarray:
    """An idx file of bytes: two zeros, the type (8), the number of dimensions, their sizes as big-endian words, the bytes."""
    raw = gzip.decompress(path.read_bytes())
    dims = tuple(np.frombuffer(raw, ">u4", raw[3], 4).tolist())
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(dims).copy()


class Logits(nn.Module):
    """ResNet-20 as most trainers expect a model: x_BCHW -> logits (B, K) alone."""

    def __init__(self) -> None:
        from lamina.models.resnet import resnet

        super().__init__()
        self.resnet = resnet(20, classes=CLASSES, channels=1, mean=[MEAN], std=[STD])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.resnet(x_BCHW)["logits"]


def sgd(model: nn.Module, **options: bool) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True, **options)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def main(train: Callable[[argparse.Namespace, Clock], None], *packages: str, unit: str = "images") -> None:
    """Run a contender with the flags of the harness, and print what its clock counted and the versions of `packages`.

    unit: what `clock.step` was told: images, or tokens.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds left out at the start, and at least five steps")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--workers", type=int, default=0, help="processes that load pictures, beside the one that trains")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--precision", choices=("default", "bfloat16", "float32"), default="default")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    clock = Clock(options.seconds, options.warmup)
    try:
        train(options, clock)
    except Finished:
        pass
    else:
        raise SystemExit("the training ended before the time was up")
    found = {
        unit: clock.images,
        "seconds": clock.elapsed,
        "steps": clock.steps,
        "parameters": clock.parameters,
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", *packages)},
    }
    print("\n" + json.dumps(found))  # a line of its own, after any progress bar
