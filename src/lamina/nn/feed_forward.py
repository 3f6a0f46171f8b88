"""The layers of a Transformer that look at one token at a time.

Shapes: any leading dimensions, D features, F hidden features.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lamina.nn.dropout import Dropout

Activation = Literal["relu", "gelu", "gelu-tanh", "silu"]


class Tanh(nn.GELU):
    """GELU by the tanh formula (Hendrycks & Gimpel 2016, section 2), as GPT-2 has it."""

    def __init__(self) -> None:
        super().__init__(approximate="tanh")


ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "gelu-tanh": Tanh, "silu": nn.SiLU}


class FeedForward(nn.Module):
    """Two layers with a bend between: (..., D) -> (..., D) (Vaswani et al. 2017, section 3.3)."""

    def __init__(self, width: int, hidden: int, activation: Activation, bias: bool = True, dropout: float = 0.0):
        super().__init__()
        self.expand = nn.Linear(width, hidden, bias)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(hidden, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(self.dropout(self.activation(self.expand(x))))


class SwiGLU(nn.Module):
    """project(silu(gate(x)) * up(x)): (..., D) -> (..., D) (Shazeer 2020, "GLU Variants Improve Transformer", equation 6).

    Gate and up are one product. A hidden width of 8/3 D has as many weights as two layers of 4 D.
    """

    def __init__(self, width: int, hidden: int, bias: bool = False, dropout: float = 0.0):
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias)
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(hidden, width, bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.project(self.dropout(F.silu(gate) * up))
