"""Weights of few bits in models that write: one row goes the way of whole numbers, and says nearly the same."""

from __future__ import annotations

import copy

import pytest
import torch

from lamina.models.transformer_decoder import Decoder, llama
from lamina.shrink.few_bits import Int8Linear, fast_product, fill, linears, quantized8
from lamina.surgery import apply


def layer(inputs: int = 64, outputs: int = 48) -> tuple[torch.nn.Linear, Int8Linear]:
    torch.manual_seed(0)
    old = torch.nn.Linear(inputs, outputs)
    new = Int8Linear(inputs, outputs, True)
    fill(new, old, dict(zip(("weight", "scale"), quantized8(old.weight.detach()), strict=True)))
    return old, new


def test_one_row_is_near_the_exact_product_and_others_are_exact():
    old, new = layer()
    x = torch.randn(5, 64)
    with torch.inference_mode():
        exact = torch.nn.functional.linear(x, new.weight.float() * new.scale[:, None], new.bias)
        torch.testing.assert_close(new(x), exact)
        assert fast_product(x[:1], 64) == ("fbgemm" in torch.backends.quantized.supported_engines) and not fast_product(x, 64)
        assert float((new(x[:1]) - exact[:1]).norm() / exact[:1].norm()) < 0.02
        assert float((new(x[:1]) - old(x[:1])).norm() / exact[:1].norm()) < 0.03


def test_other_weights_are_seen_and_copies_are_whole():
    _, new = layer()
    x = torch.randn(1, 64)
    with torch.inference_mode():
        before = new(x)
        other = copy.deepcopy(new)
        assert torch.equal(other(x), before)
    with torch.no_grad():
        new.weight.zero_()
        assert float((new(x) - new.bias).abs().max()) < 1e-6
        assert torch.equal(other(x), before)


@pytest.mark.parametrize("method", ["int8-weights", "int4-weights"])
def test_a_decoder_of_few_bits_writes_with_its_cache_as_without(method: str):
    torch.manual_seed(0)
    model = Decoder(40, llama(32, 2, 4, 24), tied=False, restarts=False).eval()
    tokens = torch.randint(4, 40, (2, 9))
    with torch.no_grad():
        exact = model(tokens)["token_logits"]
    extra = {"group_size": 32} if method == "int4-weights" else {}
    apply(model, [{"surgery": method, "module": name, **extra} for name in linears(model)])
    assert not linears(model)
    with torch.inference_mode():
        whole = model(tokens)["token_logits"]
        logits, state = model.begin(tokens[:, :6])
        for place in range(6, 9):
            torch.testing.assert_close(logits, whole[:, place - 1], rtol=1e-4, atol=1e-5)
            logits, state = model.step(tokens[:, place], state)
        torch.testing.assert_close(logits, whole[:, -1], rtol=1e-4, atol=1e-5)
    assert float((whole - exact).norm() / exact.norm()) < (0.03 if method == "int8-weights" else 0.3)
