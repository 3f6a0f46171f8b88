"""Attention in products, as a processor trains with it, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from lamina.nn.attention import FUSED_FROM, attend, padding_mask

# B rows, H heads, T queries, S keys, E features of a head.


def three(seed: int, queries: int, keys: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (queries, keys, keys)
    q, k, v = (torch.randn(3, 2, length, 8, generator=generator).to(dtype).requires_grad_() for length in shapes)
    return q, k, v


def masks(queries: int, keys: int) -> dict[str, dict]:
    inside_BS = torch.arange(keys) < torch.tensor([[1], [keys // 2 + 1], [keys]])
    square_B1TS = torch.rand(3, 1, queries, keys, generator=torch.Generator().manual_seed(7)) < 0.5
    square_B1TS[..., 0] = True
    return {"all": {}, "padding": {"mask": padding_mask(inside_BS)}, "any": {"mask": square_B1TS}, "causal": {"causal": True}}


@pytest.mark.parametrize("which", ["all", "padding", "any", "causal"])
@pytest.mark.parametrize(("queries", "keys"), [(1, 5), (7, 7), (6, 11), (33, 33)])
def test_products_and_their_gradients_are_those_of_torch(which: str, queries: int, keys: int) -> None:
    how, qkv = masks(queries, keys)[which], three(queries, queries, keys)
    said_BHTE = attend(*qkv, **how, training=True)
    truth_BHTE = scaled_dot_product_attention(*qkv, how.get("mask"), is_causal="causal" in how)
    torch.testing.assert_close(said_BHTE, truth_BHTE, rtol=1e-5, atol=1e-6)
    of_output = torch.randn(said_BHTE.shape, generator=torch.Generator().manual_seed(1))
    for said, truth in zip(
        torch.autograd.grad(said_BHTE, qkv, of_output), torch.autograd.grad(truth_BHTE, qkv, of_output), strict=True
    ):
        torch.testing.assert_close(said, truth, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("which", ["all", "padding", "any", "causal"])
def test_in_bfloat16_products_are_as_near_to_float32_as_torch(which: str) -> None:
    how, (q, k, v) = masks(21, 21)[which], three(0, 21, 21)
    mask, causal = how.get("mask"), "causal" in how
    exact = scaled_dot_product_attention(q, k, v, mask, is_causal=causal)
    low = q.bfloat16(), k.bfloat16(), v.bfloat16()
    fused = (scaled_dot_product_attention(*low, mask, is_causal=causal).float() - exact).abs().mean()
    assert (attend(*low, **how, training=True).float() - exact).abs().mean() < 2 * fused + 1e-4


def test_products_drop_a_share_of_the_weights_and_keep_the_mean() -> None:
    q, k, _ = (x.detach() for x in three(0, 16, 16))
    v = torch.ones_like(q)
    torch.manual_seed(0)
    said = torch.stack([attend(q, k, v, dropout=0.25, training=True) for _ in range(200)])
    assert said.std() > 0.1
    assert abs(said.mean().item() - 1) < 0.01
    assert torch.equal(attend(q, k, v, dropout=0.25, training=False), attend(q, k, v))


def test_long_rows_take_the_fused_kernel() -> None:
    """One more key than products are for, and nothing is as large as the scores."""
    length = int(FUSED_FROM[torch.float32] ** 0.5) + 1
    q, k, v = three(0, length, length)
    with torch.autograd.profiler.profile() as seen:
        attend(q, k, v, training=True)
    assert any("flash" in event.name for event in seen.function_events)
