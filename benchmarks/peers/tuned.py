"""The same loop tuned by hand: bfloat16, channels last, whole batches augmented at once, a fused optimizer.

Its allocator is tuned from outside, before the process starts: see ALLOCATOR in throughput.py.
"""

import argparse

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.common import PAD, Clock, Logits, load, main, parameters, sgd


def augment(x_BCHW: Tensor) -> Tensor:
    """Each picture of the batch flipped with probability 1/2 and cropped after padding: two gathers in all."""
    batch, _, height, width = x_BCHW.shape
    x_BCHW = functional.pad(x_BCHW, (PAD, PAD, PAD, PAD))
    top_B, left_B = torch.randint(0, 2 * PAD + 1, (2, batch))
    rows_BH = top_B[:, None] + torch.arange(height)
    columns_BW = left_B[:, None] + torch.arange(width)
    columns_BW = torch.where(torch.rand(batch, 1) < 0.5, columns_BW.flip(1), columns_BW)
    return x_BCHW[torch.arange(batch)[:, None, None], :, rows_BH[:, :, None], columns_BW[:, None, :]].permute(0, 3, 1, 2)


def train(options: argparse.Namespace, clock: Clock) -> None:
    images_NCHW, labels_N = load(options.data)
    model = Logits().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = sgd(model, fused=True)
    clock.parameters = parameters(model)
    model.train()
    while True:
        for rows_B in torch.randperm(len(labels_N)).split(options.batch):
            x_BCHW = augment(images_NCHW[rows_B]).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                logits_BK = model(x_BCHW)
            functional.cross_entropy(logits_BK.float(), labels_N[rows_B]).backward()
            optimizer.step()
            optimizer.zero_grad()
            clock.step(len(rows_B))


if __name__ == "__main__":
    main(train)
