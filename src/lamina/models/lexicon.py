"""A translator's first knowledge: a dictionary, counted from pairs of sentences in seconds, not learned.

Dyer, Chahuneau and Smith 2013, "A Simple, Fast, and Effective Reparameterization of IBM Model 2": a target's token translates one
of the source's, rather one near the diagonal; expectation maximization finds which translate which. What changed: the slope
stays as it begins, and what translates nothing translates the source's end.

Legend: V tokens of the vocabulary, K translations of a token, P pairs of tokens that stand in one pair of sentences, U different
ones, S tokens of a source, T tokens of a target.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lamina.nn.lexical import STEEP, Dictionary

MOST, TOKENS, PAIRS = 100_000, 60, 2**24
"""Sentences that are counted at most, tokens of each, and pairs of tokens: some 40,000 sentences of 20, a gigabyte."""
STEPS = 5
"""Of expectation maximization."""
NOTHING = 0.08
"""How probable it is that a token translates nothing (Dyer et al. 2013)."""


def diagonal(source: int, target: int) -> np.ndarray:
    """How probable it is, before any word is known, that a target's token translates each of the source's (T, S)."""
    if source == 1:
        return np.ones((target, 1))
    middle_S, middle_T1 = (np.arange(source - 1) + 0.5) / (source - 1), (np.arange(target)[:, None] + 0.5) / target
    near_TS = np.exp(-STEEP * np.abs(middle_S - middle_T1))
    near_TS *= (1 - NOTHING) / near_TS.sum(1, keepdims=True)
    return np.concatenate([near_TS, np.full((target, 1), NOTHING)], 1)


def lexicon(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tokens of the source, tokens of the target, probability that the former is translated by the latter), U of each: over all
    that a token of the source may be translated by, it sums to one. Each source ends with its end."""
    chosen = [(s, t) for s, t in zip(sources, targets, strict=True) if 0 < len(s) <= TOKENS and 0 < len(t) <= TOKENS]
    counts = np.cumsum([len(s) * len(t) for s, t in chosen])
    chosen = chosen[: int(np.searchsorted(counts, PAIRS, side="right"))]
    if not chosen:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    first_P = np.concatenate([np.tile(np.asarray(s, np.int64), len(t)) for s, t in chosen])
    second_P = np.concatenate([np.repeat(np.asarray(t, np.int64), len(s)) for s, t in chosen])
    lengths = [len(s) for s, t in chosen for _ in t]
    place_P = np.repeat(np.arange(len(lengths)), lengths)  # which token of which target
    sizes = {(len(s), len(t)) for s, t in chosen}
    near = {size: diagonal(*size).ravel() for size in sizes}
    near_P = np.concatenate([near[len(s), len(t)] for s, t in chosen])
    size = 1 + int(max(first_P.max(), second_P.max()))
    pair_U, which_P = np.unique(first_P * size + second_P, return_inverse=True)
    source_U = pair_U // size
    share_U = np.ones(len(pair_U))
    for _ in range(STEPS):  # each token of a target is shared out among the source's tokens, by what is thought of them
        expected_P = share_U[which_P] * near_P
        expected_P /= np.bincount(place_P, expected_P)[place_P]
        share_U = np.bincount(which_P, expected_P, len(pair_U))
        share_U /= np.bincount(source_U, share_U)[source_U]
    return source_U, pair_U % size, share_U


def dictionary(
    sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], vocabulary: int, translations: int
) -> tuple[np.ndarray, np.ndarray]:
    """The most probable translations of every token (V, K) and their probabilities: of `lexicon`. What stands in no source that
    is counted is its own translation."""
    source_U, target_U, share_U = lexicon(sources, targets)
    order_U = np.lexsort((-share_U, source_U))
    source_U, target_U, share_U = source_U[order_U], target_U[order_U], share_U[order_U]
    rank_U = np.arange(len(source_U)) - np.searchsorted(source_U, source_U)
    kept = rank_U < translations
    word_VK, share_VK = np.zeros((vocabulary, translations), np.int64), np.zeros((vocabulary, translations), np.float32)
    word_VK[:, 0], share_VK[:, 0] = np.arange(vocabulary), 1.0
    word_VK[source_U[kept], rank_U[kept]], share_VK[source_U[kept], rank_U[kept]] = target_U[kept], share_U[kept]
    return word_VK, share_VK


def start(module: Dictionary, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> None:
    """Tells a network's dictionary what is counted."""
    word_VK, share_VK = dictionary(sources, targets, *module.word.shape)
    module.start(torch.from_numpy(word_VK), torch.from_numpy(share_VK))
