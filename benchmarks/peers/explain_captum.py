"""captum's attributions of the same score, at the same steps, in batches of its own where it has them."""

import argparse
from collections.abc import Callable

import torch
from captum.attr import IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.explaining import BASELINE, main


def explainer(model: nn.Module, x_BCHW: Tensor, label_B: Tensor, options: argparse.Namespace) -> Callable[[], Tensor]:
    if options.channels_last:
        model = model.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def ask(inputs: Tensor) -> Tensor:
        return model(inputs)["logits"].log_softmax(1)

    def one(x: Tensor, label: Tensor) -> Tensor:
        if options.method == "gradient":
            return Saliency(ask).attribute(x, label, abs=False)[:, 0]
        if options.method == "integrated-gradients":
            return IntegratedGradients(ask).attribute(
                x, torch.full_like(x, BASELINE), label, n_steps=options.steps, internal_batch_size=options.at_once
            )[:, 0]
        if options.method == "smooth-grad":
            few = max(1, options.at_once // len(x))
            noisy = NoiseTunnel(Saliency(ask))
            return noisy.attribute(
                x, "smoothgrad", nt_samples=options.steps, nt_samples_batch_size=few, stdevs=20.0, target=label, abs=False
            )[:, 0]
        if options.method == "occlusion":
            return Occlusion(ask).attribute(x, (1, 8, 8), (1, 4, 4), target=label, baselines=torch.full_like(x, BASELINE))[:, 0]
        cam = LayerGradCam(ask, model.blocks[-1]).attribute(x, label, relu_attributions=True)  # type: ignore[index]
        return functional.interpolate(cam, size=x.shape[2:], mode="bilinear")[:, 0]

    parts = list(zip(x_BCHW.float().split(options.at_once), label_B.split(options.at_once), strict=True))
    return lambda: torch.cat([one(x.requires_grad_(), label).detach() for x, label in parts])


if __name__ == "__main__":
    main(explainer)
