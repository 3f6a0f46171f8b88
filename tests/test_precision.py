"""What a model is made into for many small calls: the same answers, from weights that are quicker to read."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lamina.train.precision import autocast, for_steps

CPU = torch.device("cpu")


class Tied(nn.Module):
    """An embedding that is the last layer too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner, self.last = nn.Embedding(11, 8), nn.Linear(8, 8), nn.Linear(8, 11, bias=False)
        self.norm = nn.LayerNorm(8)
        self.last.weight = self.embed.weight

    def forward(self, tokens_B: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.inner(self.embed(tokens_B))))


# Autocast leaves an embedding in float32, but where it is tied to a layer its weights have been cast beforehand.
@pytest.mark.parametrize(("precision", "within"), [("float32", 1e-6), ("bfloat16", 0.02)])
def test_steps_answer_as_the_model_does(precision, within):
    torch.manual_seed(0)
    model = Tied().eval()
    before = {name: (value.data_ptr(), value.stride(), value.dtype) for name, value in model.state_dict().items()}
    made = for_steps(model, precision, CPU)
    with torch.inference_mode(), autocast(precision, CPU):
        expected, got = model(torch.arange(11)), made(torch.arange(11))
    assert torch.allclose(expected.float(), got.float(), atol=within, rtol=within)
    assert made.last.weight is made.embed.weight, "shared weights stay shared"
    assert made.norm.weight is model.norm.weight, "what no linear layer holds is not copied"
    assert {name: (v.data_ptr(), v.stride(), v.dtype) for name, v in model.state_dict().items()} == before, "the model is left"


def test_steps_read_columns_in_float32_and_half_the_bytes_in_bfloat16():
    model = Tied().eval()
    assert for_steps(model, "float32", CPU).inner.weight.stride() == (1, 8)
    assert for_steps(model, "bfloat16", CPU).inner.weight.dtype == torch.bfloat16
