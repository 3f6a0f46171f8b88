"""ConvNet against the same arithmetic written out with torch.nn.functional, and its whitening against linear algebra."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lamina.models.convnet import ConvNet
from model_checks import MEAN, STD, check_model


def written_out(weights: dict, x: torch.Tensor, blocks: int) -> torch.Tensor:
    """The paper's network from its description, in evaluation mode, one line a layer."""
    x = (x.float() - weights["normalize.mean"].view(1, -1, 1, 1)) / weights["normalize.std"].view(1, -1, 1, 1)
    x = F.gelu(F.conv2d(x, weights["whiten.weight"], weights["whiten.bias"]))
    for b in range(blocks):
        w = {k.removeprefix(f"blocks.{b}."): v for k, v in weights.items() if k.startswith(f"blocks.{b}.")}

        def norm(h, n, w=w):
            mean, variance = w[f"norm{n}.running_mean"].view(1, -1, 1, 1), w[f"norm{n}.running_var"].view(1, -1, 1, 1)
            return (h - mean) / torch.sqrt(variance + 1e-5) * w[f"norm{n}.weight"].view(1, -1, 1, 1) + w[f"norm{n}.bias"].view(
                1, -1, 1, 1
            )

        x = F.gelu(norm(F.max_pool2d(F.conv2d(x, w["conv1.weight"], padding=1), 2), 1))
        x = x + F.gelu(norm(F.conv2d(x, w["conv2.weight"], padding=1), 2))
    return (x.flatten(2).max(2).values @ weights["head.weight"].T + weights["head.bias"]) / 9


@pytest.mark.parametrize(("channels", "side", "widths"), [(1, 28, (8, 12, 16)), (3, 32, (8, 8, 8)), (1, 8, (4, 6))])
def test_equals_the_network_written_out(channels, side, widths):
    torch.manual_seed(0)
    model = ConvNet(5, channels, mean=[120.0] * channels, std=[60.0] * channels, widths=widths)
    for buffer_name, buffer in model.named_buffers():
        if "running" in buffer_name:
            buffer.uniform_(0.5, 1.5)
    model.eval()
    x = torch.randint(0, 256, (3, channels, side, side), dtype=torch.uint8)
    assert torch.allclose(model(x)["logits"], written_out(model.state_dict(), x, len(widths)), atol=1e-5)


def test_whitened_patches_have_unit_covariance():
    torch.manual_seed(0)
    x = F.avg_pool2d(torch.rand(64, 3, 18, 18) * 255, 3, stride=1)  # neighbours correlate, as in pictures
    model = ConvNet(2, 3, mean=[128.0] * 3, std=[30.0] * 3)
    model.set_whitening(x, epsilon=0.0)
    with torch.no_grad():
        out = F.conv2d(model.normalize(x), model.whiten.weight).permute(1, 0, 2, 3).reshape(24, -1)
    second_moment = out[:12] @ out[:12].T / out.shape[1]
    assert torch.allclose(second_moment, torch.eye(12), atol=1e-3)
    assert torch.allclose(out[12:], -out[:12]), "the negatives of the same directions"
    assert not model.whiten.weight.requires_grad


def test_keeps_what_every_model_keeps():
    check_model(lambda: ConvNet(4, 3, mean=MEAN, std=STD, widths=(8, 8)), (3, 16, 16), classes=4, varies=True)
