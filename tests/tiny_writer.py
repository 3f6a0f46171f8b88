"""A tiny random GPT-2 of transformers, and a writer with its own memory, for the tests of decoding."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lamina.decode.steps import PAD


def tiny_gpt2(vocabulary: int = 32, seed: int = 0) -> Any:
    """GPT2LMHeadModel with sharp, varied logits, evaluating. Token 3 ends; 0 and 2 are never written."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary, n_positions=64, n_embd=16, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3, pad_token_id=0,
        initializer_range=0.5,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def asked_whole(model: Any) -> Any:
    """The model as a function of arrays, padding on the left left out of attention and positions."""

    def ask(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tokens = torch.from_numpy(arrays["tokens"])
        mask = tokens != PAD
        positions = (mask.long().cumsum(1) - 1).clamp(min=0)
        with torch.no_grad():
            logits = model(input_ids=tokens, attention_mask=mask.long(), position_ids=positions).logits
        return {"token_logits": logits.numpy()}

    return ask


class Table:
    """Steps over given log probabilities: what comes next depends on the tokens since the beginning, through a seeded table."""

    def __init__(self, vocabulary: int, seed: int, sharp: float = 2.0) -> None:
        self.vocabulary, self.seed, self.sharp = vocabulary, seed, sharp

    def logits(self, tokens: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng((self.seed, *tokens)).normal(size=self.vocabulary) * self.sharp

    def begin(self, arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, Any]:
        state = [tuple(int(t) for t in row if t != PAD) for row in arrays["tokens"]]
        return np.stack([self.logits(text) for text in state]), state

    def step(self, token_B: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        state = [(*text, int(token)) for text, token in zip(state, token_B, strict=True)]
        return np.stack([self.logits(text) for text in state]), state

    def rows(self, state: Any, index_N: np.ndarray) -> Any:
        return [state[i] for i in index_N]
