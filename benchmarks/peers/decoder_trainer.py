"""A decoder trained by Hugging Face's Trainer, which clips gradients at 1; with --precision bfloat16 its own `bf16=True`."""

import argparse
import tempfile

from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from benchmarks.peers.common import Clock, main, parameters
from benchmarks.peers.language import CONTEXT, Logits, adamw, loss_of, tokens_of
from benchmarks.peers.trainer import Count


class Language(nn.Module):
    """A model as Trainer expects it: a dict with the loss first."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Logits()

    def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": loss_of(self.model(input_ids), labels)}


class Rows(Dataset):
    """Windows that do not overlap, as Trainer expects them: dicts."""

    def __init__(self, tokens_N: Tensor) -> None:
        self.tokens_N = tokens_N

    def __len__(self) -> int:
        return (len(self.tokens_N) - 1) // CONTEXT

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        window = self.tokens_N[index * CONTEXT : (index + 1) * CONTEXT + 1]
        return {"input_ids": window[:-1], "labels": window[1:]}


def train(options: argparse.Namespace, clock: Clock) -> None:
    model = Language()
    clock.parameters = parameters(model)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            use_cpu=True,
            bf16=options.precision == "bfloat16",
            per_device_train_batch_size=options.batch,
            num_train_epochs=1000,
            dataloader_drop_last=True,
            lr_scheduler_type="constant",
            save_strategy="no",
            report_to="none",
        )
        count = Count(clock, options.batch * CONTEXT)
        Trainer(
            model, settings, train_dataset=Rows(tokens_of(options.data)), optimizers=(adamw(model), None), callbacks=[count]
        ).train()


if __name__ == "__main__":
    main(train, "transformers", "accelerate", unit="tokens")
