"""A translator's first knowledge: which tokens of one language stand where those of the other do.

IBM's model 1 (Brown et al. 1993, section 4.2) counts it in seconds, and the embeddings begin from it: a token of the target lies
near those that it translates. A network would otherwise spend most of a short training on finding out.

Legend: V tokens of the vocabulary, D features, P pairs of tokens that stand in one pair of sentences, U different ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

SENTENCES, TOKENS = 20_000, 40
"""Pairs of sentences that are counted at most, and tokens of each: what is rarer must be learned."""
STEPS = 4
"""Of expectation maximization."""
LEAST = 3
"""Times that a token must stand in targets, to be said to translate something."""
NOTHING = 0
"""What a token translates that translates no token: padding."""


def lexicon(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(tokens of the source, tokens of the target, probability that the latter translates the former), U of each: over all that a
    target's token may translate, `NOTHING` among them, it sums to one."""
    first, second, place, count = [], [], [], 0
    for source, target in zip(sources[:SENTENCES], targets[:SENTENCES], strict=True):
        s, t = np.asarray([NOTHING, *source[:TOKENS]]), np.asarray(target[:TOKENS], np.int64)
        first.append(np.tile(s, len(t)))
        second.append(np.repeat(t, len(s)))
        place.append(np.tile(np.arange(count, count + len(s)), len(t)))
        count += len(s)
    size = 1 + max(int(ids.max(initial=0)) for ids in (*first, *second))
    pair_U, which_P = np.unique(np.concatenate(second) * size + np.concatenate(first), return_inverse=True)
    place_P, target_U = np.concatenate(place), pair_U // size
    share_U = np.ones(len(pair_U))
    for _ in range(STEPS):  # each token of a source is shared out among the target's tokens, by what is thought of them
        expected_P = share_U[which_P]
        expected_P /= np.bincount(place_P, expected_P, count)[place_P]
        share_U = np.bincount(which_P, expected_P, len(pair_U))
        share_U /= np.bincount(target_U, share_U)[target_U]
    return pair_U % size, target_U, share_U


@torch.no_grad()
def start_from_lexicon(embed: nn.Embedding, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> None:
    """Adds to the embedding of each token of the targets those of what it translates, as probable as they are, and keeps its
    length."""
    times_V = np.bincount(np.concatenate([np.asarray(ids, np.int64) for ids in targets]), minlength=embed.num_embeddings)
    source_U, target_U, share_U = lexicon(sources, targets)
    kept = (times_V[target_U] >= LEAST) & (source_U != NOTHING)
    weight_VD = embed.weight.clone()
    norm_V1 = weight_VD.norm(dim=1, keepdim=True)
    nearer_VD = weight_VD.clone()
    mass_U1 = torch.from_numpy(share_U[kept]).to(weight_VD).unsqueeze(1)
    nearer_VD.index_add_(0, torch.from_numpy(target_U[kept]), weight_VD[torch.from_numpy(source_U[kept])] * mass_U1)
    embed.weight.copy_(nearer_VD * norm_V1 / nearer_VD.norm(dim=1, keepdim=True).clamp(min=1e-12))
