"""Lamina's text-generation over the same folder of weights: the decoder that `lamina predict` asks, text included.

The tokens are noted on their way into the model, since answers are text. With --weights int8, all linear layers as `lamina shrink
--method int8-weights` makes them.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.peers.generating import Write, main
from lamina.data.source import Source
from lamina.find import find_task
from lamina.run import forward_of
from lamina.shrink.few_bits import int8_weights, linears
from lamina.task import asking

FIRST = 4
"""The checkpoint's own ids come after padding, unknown, the beginning and the end."""
ENDS = 3


class Noted:
    """What writes token by token, and the tokens that it was given."""

    def __init__(self, steps: Any) -> None:
        self.steps = steps
        self.tokens: list[int] = []

    def begin(self, arrays: dict[str, np.ndarray]) -> Any:
        return self.steps.begin(arrays)

    def step(self, token_B: np.ndarray, state: Any) -> Any:
        self.tokens.append(int(token_B[0]))
        return self.steps.step(token_B, state)

    def rows(self, state: Any, index_N: np.ndarray) -> Any:
        return self.steps.rows(state, index_N)


def writer(options: argparse.Namespace) -> Write:
    kind: Any = find_task("text-generation")
    asked = kind(pretrained=str(options.model), new_tokens=options.tokens + 1, temperature=0.0, context=1024)
    data = asked.read(Source(data=["some text to read, which teaches nothing " * 20] * 2))
    task = asked.prepare(data)
    model = task.model()
    task.init(model, data)
    model.eval()
    if options.weights == "int8":
        for name in linears(model):
            int8_weights(model, name)
    forward = forward_of(model, options.precision, torch.device("cpu"))
    decoder = task.serving().decoder

    def write(prompt: Sequence[int]) -> Sequence[int]:
        tokens_1T = torch.tensor([list(prompt)]) + FIRST
        noted = Noted(asking(forward, task.inputs, {"tokens": tokens_1T}))
        decoder.answers(
            noted, {"tokens": tokens_1T.numpy()}
        )  # the last token written is never read: hence one more was asked for
        return [token - FIRST if token >= FIRST else 0 for token in noted.tokens[: options.tokens]]

    return write


if __name__ == "__main__":
    main(writer, "lamina")
