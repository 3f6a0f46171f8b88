"""One token after another: what a model is asked when it writes. Needs only numpy.

A model that keeps what it has read (keys and values, a hidden state) answers `begin` once and `step` for every token. One that
does not is asked anew about everything each time: `WholeCalls`, the reference that cached writing must equal.

Legend: B rows, T tokens, V words of the vocabulary, N rows that are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from lamina.errors import LaminaError

PAD, UNK, BOS, EOS = 0, 1, 2, 3
"""Token ids that mean the same in every text modality: padding, unknown, the beginning, the end."""
LOGITS = "token_logits"
"""The output (B, T, V) of a model that says the next token at every place."""

Arrays = dict[str, np.ndarray]


@runtime_checkable
class Steps(Protocol):
    """What writes token by token. The state is opaque: whoever made it reorders its rows."""

    def begin(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        """Logits (B, V) of the token that follows `arrays`, whose last input grows, and the state."""
        ...

    def step(self, token_B: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        """Logits (B, V) of the token after `token_B` (int64), and the state."""
        ...

    def rows(self, state: Any, index_N: np.ndarray) -> Any:
        """The state of the rows `index_N`, in that order; a row may stand several times. `state` is spent, as in `step`."""
        ...


class WholeCalls:
    """Steps over a function of whole inputs: `grows` names the input that takes on the tokens."""

    def __init__(self, ask: Callable[[Arrays], Mapping[str, np.ndarray]], grows: str) -> None:
        self.ask, self.grows = ask, grows

    def begin(self, arrays: Arrays) -> tuple[np.ndarray, Any]:
        said = self.ask(arrays)
        if LOGITS not in said:
            raise LaminaError(f"the model: expected the output {LOGITS}, to write from; it gives {', '.join(said)}")
        return said[LOGITS][:, -1], arrays

    def step(self, token_B: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        grown = np.concatenate([state[self.grows], token_B[:, None].astype(np.int64)], axis=1)
        return self.begin({**state, self.grows: grown})

    def rows(self, state: Any, index_N: np.ndarray) -> Any:
        return {name: value[index_N] for name, value in state.items()}


def steps_of(ask: Any, grows: str) -> Steps:
    """`ask` itself where it writes token by token, else whole calls of it."""
    if isinstance(ask, Steps):
        return ask
    return WholeCalls(ask, grows)


def left_padded(rows: list[list[int]], least: int = 1) -> np.ndarray:
    """Token ids (B, T) int64 of rows of any length, with padding on their left; T is `least` or more."""
    width = max([least, *(len(row) for row in rows)])
    padded_BT = np.full((len(rows), width), PAD, np.int64)
    for place, row in enumerate(rows):
        if row:
            padded_BT[place, width - len(row) :] = row
    return padded_BT


def unpadded(tokens_BT: np.ndarray) -> list[list[int]]:
    """The tokens of each row, without padding on either side."""
    return [row[row != PAD].tolist() for row in tokens_BT]


def log_sum_exp(logits_BV: np.ndarray) -> np.ndarray:
    """log(sum(exp(logits))) of each row (B, 1), float64: the sum is, its terms are float32."""
    most_B1 = logits_BV.max(1, keepdims=True)
    return most_B1 + np.log(np.exp(logits_BV - most_B1).sum(1, keepdims=True, dtype=np.float64))
