"""What contenders that explain share: the pictures, the network, the clock.

A contender is a module with `explainer(model, x_BCHW, label_B, options)`, which returns a function of no arguments that gives
attributions (B, H, W). `main` prints one line of JSON, with the length of the attributions, on which all must agree.

Shapes: B pictures, C channels (1), H and W pixels.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers.common import MEAN, STD, load

METHODS = ("gradient", "integrated-gradients", "smooth-grad", "occlusion", "grad-cam")
BASELINE = MEAN
Explainer = Callable[[nn.Module, Tensor, Tensor, argparse.Namespace], Callable[[], Tensor]]


def network() -> nn.Module:
    """The network that Lamina takes for such pictures, with the same random weights for all."""
    from lamina.models.convnet import ConvNet

    torch.manual_seed(0)
    return ConvNet(10, 1, (MEAN,), (STD,)).eval()


def main(explainer: Explainer) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=32, help="of the path, or noisy copies")
    parser.add_argument("--at-once", type=int, default=256, help="pictures in one forward of captum's")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, _ = load(options.data)
    x_BCHW: Tensor = torch.as_tensor(images)[: options.images]
    model: Any = network()
    with torch.no_grad():
        label_B = torch.cat([model(part)["logits"].argmax(1) for part in x_BCHW.split(250)])
    explainer(model, x_BCHW[:8], label_B[:8], options)()  # the first call builds what later ones find
    run = explainer(model, x_BCHW, label_B, options)
    began = time.perf_counter()
    attribution_BHW = run()
    seconds = time.perf_counter() - began
    length = float(attribution_BHW.double().norm())
    print(json.dumps({"images": len(x_BCHW), "seconds": seconds, "length": length}))
