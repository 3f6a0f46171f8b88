"""Networks that sort texts into classes, by their names.

Shapes: B texts, T tokens, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.models.bag import Bag

RECURRENT = ("rnn", "lstm", "gru")


class Scores(nn.Module):
    """A network whose K answers do not exclude each other: its logits are `scores` (B, K), a sigmoid each."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_BT: Tensor) -> dict[str, Tensor]:
        said = self.network(x_BT)
        return {"scores": said["logits"], **{name: value for name, value in said.items() if name != "logits"}}


EMBEDDINGS = {"bag": "embed", "rnn": "embed", "lstm": "embed", "gru": "embed", "transformer": "encoder.embed"}
"""The submodule of each network that embeds tokens."""


def architecture(
    name: str,
    width: int | None,
    depth: int | None,
    heads: int | None,
    dropout: float | None,
    length: int,
    described: Mapping[str, Any],
) -> dict[str, Any]:
    """What the network `name` takes, as JSON; None is what has proved right. A run keeps it, so that it still loads after these
    choices have changed. length: tokens of a text at most. described: what a pretrained encoder says of itself.
    Raises LaminaError where heads do not divide the width."""
    if name == "pretrained":
        return {**described, "dropout": 0.1 if dropout is None else dropout}
    if name == "bag":
        return {"width": width or 256, "dropout": 0.5 if dropout is None else dropout}
    if name in RECURRENT:
        width = width or 128
        return {
            "width": width,
            "hidden": width,
            "depth": depth or 1,
            "dropout": 0.5 if dropout is None else dropout,
            "pool": "max",
        }
    width, heads = width or 128, heads or 4
    if width % (2 * heads):
        raise LaminaError(f"--width: expected a multiple of twice the {heads} heads; got {width}")
    dropout = 0.3 if dropout is None else dropout
    return {
        "width": width, "depth": depth or 2, "heads": heads, "hidden": 2 * width, "length": length, "positions": "rotary",
        "dropout": dropout, "attention_dropout": 0.0,
    }  # fmt: skip


def network(name: str, vocabulary: int, classes: int, architecture: Mapping[str, Any]) -> nn.Module:
    """The network `name` over `vocabulary` tokens, built as `architecture` says: tokens (B, T) -> logits and features."""
    if name == "pretrained":
        from lamina.models.hub_encoder import HubEncoder

        return HubEncoder(classes, **architecture)
    if name == "bag":
        return Bag(vocabulary, classes, **architecture)
    if name in RECURRENT:
        from lamina.models.recurrent import RecurrentClassifier

        return RecurrentClassifier(vocabulary, classes, name, **architecture)  # type: ignore[arg-type]
    from lamina.models.transformer import Shape
    from lamina.models.transformer_encoder import EncoderClassifier

    return EncoderClassifier(vocabulary, classes, Shape(**architecture), dropout=architecture["dropout"])
