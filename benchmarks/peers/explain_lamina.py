"""Lamina's attributions, as `lamina explain` computes them: in batches, weights frozen, channels last."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.peers.explaining import BASELINE, main
from lamina.explain.layers import grad_cam
from lamina.explain.methods import gradient, integrated_gradients, occlusion, smooth_grad
from lamina.explain.subject import Subject, by_place, subjects
from lamina.task import Input, Task


@dataclass(frozen=True)
class Pictures(Task):
    """The least that a task says to be explained."""

    inputs = (Input("image", ("B", 1, 28, 28), "uint8", "image", 0.0, 255.0),)  # type: ignore[assignment]
    labels = ("label",)  # type: ignore[assignment]

    def score(self, output, batch):
        return output["logits"].log_softmax(1).gather(1, batch["label"][:, None])[:, 0]


def attribution(some: Subject, options: argparse.Namespace) -> Tensor:
    baseline = torch.full_like(some.leaf, BASELINE)
    if options.method == "gradient":
        return by_place(gradient(some), "image")
    if options.method == "integrated-gradients":
        return by_place(integrated_gradients(some, baseline, options.steps)[0], "image")
    if options.method == "smooth-grad":
        return by_place(smooth_grad(some, 20.0, options.steps, torch.Generator().manual_seed(0)), "image")
    return occlusion(some, baseline) if options.method == "occlusion" else grad_cam(some)


def explainer(model: nn.Module, x_BCHW: Tensor, label_B: Tensor, options: argparse.Namespace) -> Callable[[], Tensor]:
    model = model.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    said = {"image": x_BCHW, "label": label_B}
    return lambda: torch.cat([attribution(some, options) for some in subjects(Pictures(), model, said)])


if __name__ == "__main__":
    main(explainer)
