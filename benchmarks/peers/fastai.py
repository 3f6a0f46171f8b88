"""fastai's Learner at its defaults, from `fastai.basics`: its vision part needs torchvision and is not used.

There is no bfloat16 row: `Learner.to_bf16` enters `torch.autocast("cuda")`, which does nothing on a CPU (fastai 2.8).
"""

import argparse
from functools import partial

from fastai.basics import SGD, Callback, CrossEntropyLossFlat, DataLoaders, Learner
from torch.utils.data import Subset

from benchmarks.peers.common import DECAY, MOMENTUM, RATE, Clock, Logits, Pictures, main, parameters


class Count(Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def after_batch(self) -> None:
        if self.training:
            self.clock.step(len(self.y))


def train(options: argparse.Namespace, clock: Clock) -> None:
    pictures, model = Pictures(options.data), Logits()
    clock.parameters = parameters(model)
    valid = Subset(pictures, range(options.batch))  # a Learner wants one; the time is nearly always up before the first epoch is
    loaders = DataLoaders.from_dsets(pictures, valid, bs=options.batch, num_workers=options.workers, device="cpu")
    learner = Learner(
        loaders, model, CrossEntropyLossFlat(), opt_func=partial(SGD, mom=MOMENTUM), lr=RATE, wd=DECAY, cbs=[Count(clock)]
    )
    learner.fit(100)


if __name__ == "__main__":
    main(train, "fastai")
