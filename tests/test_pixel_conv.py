"""A convolution of bytes: the answers and gradients of torch's own on x / 255, however it is computed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lamina.nn.pixel_conv import PixelConv2d, blocks


def both(layer: PixelConv2d, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """The answer and gradients of the layer, and of torch's convolution of x / 255."""
    weights = list(layer.parameters())
    found = []
    for said in (layer(x), F.conv2d(x.float() / 255, layer.weight, layer.bias, layer.stride)):
        pull = torch.linspace(-1, 1, said.numel()).view(said.shape)
        found.append([said, *torch.autograd.grad((said * pull).sum(), weights)])
    return found[0], found[1]


@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_over_blocks_it_is_the_same_convolution(batch: int, channels: int, height: int, width: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = PixelConv2d(channels, 6, 8, 4)
    x = torch.randint(0, 256, (batch, channels, 4 * height, 4 * width), dtype=torch.uint8)
    assert layer.in_blocks(x)
    for said, want in zip(*both(layer, x), strict=True):
        torch.testing.assert_close(said, want, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("why", ["floats", "odd width", "another kernel", "another stride", "strided"])
def test_whatever_has_no_blocks_is_convolved_as_it_is(why: str) -> None:
    torch.manual_seed(0)
    layer = PixelConv2d(2, 3, 3 if why == "another kernel" else 8, 2 if why == "another stride" else 4)
    x = torch.randint(0, 256, (2, 2, 24, 26 if why == "odd width" else 24), dtype=torch.uint8)
    x = x.float() if why == "floats" else x.transpose(2, 3) if why == "strided" else x
    assert not layer.in_blocks(x)
    for said, want in zip(*both(layer, x), strict=True):
        torch.testing.assert_close(said, want, atol=2e-4, rtol=1e-3)


def test_a_block_holds_its_pixels_by_channel_row_and_column() -> None:
    x = torch.arange(2 * 8 * 12, dtype=torch.uint8).view(1, 2, 8, 12)
    seen = blocks(x)
    assert seen.shape == (1, 32, 2, 3)
    assert torch.equal(seen[0, :, 1, 2].view(2, 4, 4), x[0, :, 4:8, 8:12])


def test_bytes_are_not_rounded_in_bfloat16() -> None:
    """The weights are; what is looked at is not: the answer is that of rounded weights on exact pixels."""
    torch.manual_seed(0)
    layer, x = PixelConv2d(4, 8, 8, 4), torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        said = layer(x)
    rounded = (layer.weight / 255).bfloat16().float()
    assert layer.bias is not None
    want = F.conv2d(x.float(), rounded, layer.bias.bfloat16().float(), 4)
    assert said.dtype == torch.bfloat16
    torch.testing.assert_close(said.float(), want, atol=4e-3, rtol=8e-3)
