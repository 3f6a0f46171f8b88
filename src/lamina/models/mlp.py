"""The multilayer perceptron: every pixel to every unit. The smallest network that there is, to learn from and to compare with.

The activation is a choice because how units fail depends on it: a ReLU dies (always zero, no gradient), a sigmoid or
tanh saturates (flat, almost no gradient).

Shapes: B examples, C channels, H and W pixels, D features, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.nn.dropout import Dropout
from lamina.nn.normalize import Normalize

ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "gelu": nn.GELU}


class MLP(nn.Module):
    """x_BCHW, uint8 or float in 0..255, of the given shape (C, H, W) -> {"logits": (B, K), "features": (B, D)}.

    widths is the number of units of each hidden layer; the last is D. Without hidden layers, D is C * H * W, and the
    network is logistic regression. mean and std normalize each channel, in raw units.
    Raises LaminaError for an activation that it does not know.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        widths: Sequence[int],
        activation: Literal["relu", "sigmoid", "tanh", "gelu"],
        dropout: float,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        super().__init__()
        if activation not in ACTIVATIONS:
            raise LaminaError(f"mlp activation: expected one of {list(ACTIVATIONS)}, got {activation!r}")
        self.normalize = Normalize(mean, std)
        self.hidden = nn.Sequential(nn.Flatten())
        inputs = math.prod(shape)
        for width in widths:
            self.hidden.extend([nn.Linear(inputs, width), ACTIVATIONS[activation](), Dropout(dropout)])
            inputs = width
        self.head = nn.Linear(inputs, classes)
        self.reset_parameters(activation)

    def reset_parameters(self, activation: str) -> None:
        """Weights that keep the size of signals from layer to layer, for each activation's own slope at zero.

        ReLU and GELU: He et al. 2015. Sigmoid, tanh and the head: Glorot & Bengio 2010. Biases start at zero.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
                if activation in ("relu", "gelu") and module is not self.head:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                else:
                    nn.init.xavier_uniform_(module.weight)

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        features_BD = self.hidden(self.normalize(x_BCHW))
        return {"logits": self.head(features_BD), "features": features_BD}
