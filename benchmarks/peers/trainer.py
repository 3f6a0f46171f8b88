"""Hugging Face's Trainer at its defaults; with --precision bfloat16 its own `bf16=True`."""

import argparse
import tempfile

from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.peers.common import Clock, Logits, Pictures, main, parameters, sgd


class Classifier(nn.Module):
    """A model as Trainer expects it: a dict with the loss first."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Logits()

    def forward(self, pixel_values: Tensor, labels: Tensor) -> dict[str, Tensor]:
        logits_BK = self.model(pixel_values)
        return {"loss": functional.cross_entropy(logits_BK.float(), labels), "logits": logits_BK}


class Named(Dataset):
    """Pictures as Trainer expects them: dicts."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, object]:
        x_CHW, label = self.pictures[index]
        return {"pixel_values": x_CHW, "labels": label}


class Count(TrainerCallback):
    def __init__(self, clock: Clock, batch: int) -> None:
        self.clock, self.size = clock, batch

    def on_step_end(self, *args: object, **kwargs: object) -> None:
        self.clock.step(self.size)


def train(options: argparse.Namespace, clock: Clock) -> None:
    classifier = Classifier()
    clock.parameters = parameters(classifier)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            bf16=options.precision == "bfloat16",
            per_device_train_batch_size=options.batch,
            num_train_epochs=100,
            dataloader_num_workers=options.workers,
            dataloader_drop_last=True,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to="none",
        )
        Trainer(
            classifier,
            settings,
            train_dataset=Named(Pictures(options.data)),
            optimizers=(sgd(classifier), None),
            callbacks=[Count(clock, options.batch)],
        ).train()


if __name__ == "__main__":
    main(train, "transformers", "accelerate")
