"""Lightning's Trainer at its defaults; with --precision bfloat16 its own `precision="bf16-mixed"`."""

import argparse
import tempfile

import lightning
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.common import Clock, Logits, loader, main, parameters, sgd


class Classifier(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.model = Logits()

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x_BCHW, y_B = batch
        return functional.cross_entropy(self.model(x_BCHW), y_B)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self.model)


class Count(lightning.Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_batch_end(self, trainer, module, outputs, batch, index) -> None:
        self.clock.step(len(batch[1]))


def train(options: argparse.Namespace, clock: Clock) -> None:
    classifier = Classifier()
    clock.parameters = parameters(classifier)
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=-1,
            precision="bf16-mixed" if options.precision == "bfloat16" else "32-true",
            callbacks=[Count(clock)],
            default_root_dir=folder,
        )
        trainer.fit(classifier, loader(options))


if __name__ == "__main__":
    main(train, "lightning")
