"""What a translator knows of words before it learns, and what their own embeddings say."""

import numpy as np
import pytest
import torch
from torch import nn

from lamina.models.lexicon import lexicon, start_from_lexicon
from lamina.models.recurrent_translator import RecurrentTranslator
from lamina.models.transformer import Shape
from lamina.models.transformer_translator import TransformerTranslator

WORDS, OFFSET = 20, 30
"""Word i of the source is word i + OFFSET of the target."""


def pairs(count=400, seed=0):
    """Sentences of 3 to 8 words, the target in any order and with a word that translates nothing."""
    rng = np.random.default_rng(seed)
    sources = [rng.choice(np.arange(4, 4 + WORDS), int(rng.integers(3, 9)), replace=False).tolist() for _ in range(count)]
    return sources, [[*rng.permutation(np.asarray(source) + OFFSET).tolist(), 60, 3] for source in sources]


def by_hand(sources, targets, steps=4):
    """Model 1 as Brown et al. 1993 write it, in loops over dictionaries: p(source's token | target's token)."""
    p = {(s, t): 1.0 for source, target in zip(sources, targets, strict=True) for s in [0, *source] for t in target}
    for _ in range(steps):
        count = dict.fromkeys(p, 0.0)
        for source, target in zip(sources, targets, strict=True):
            for s in [0, *source]:
                total = sum(p[s, t] for t in target)
                for t in target:
                    count[s, t] += p[s, t] / total
        whole = {}
        for (_, t), value in count.items():
            whole[t] = whole.get(t, 0.0) + value
        p = {(s, t): value / whole[t] for (s, t), value in count.items()}
    return p


def test_the_lexicon_is_model_1():
    sources, targets = pairs(30)
    truth = by_hand(sources, targets)
    found = {(int(s), int(t)): float(p) for s, t, p in zip(*lexicon(sources, targets), strict=True)}
    assert found.keys() == truth.keys()
    assert all(found[key] == pytest.approx(truth[key], rel=1e-9) for key in truth)


def test_words_begin_near_those_that_they_translate():
    sources, targets = pairs()
    torch.manual_seed(0)
    embed = nn.Embedding(64, 48)
    before = embed.weight.detach().norm(dim=1)
    start_from_lexicon(embed, sources, targets)
    unit = nn.functional.normalize(embed.weight.detach(), dim=1)
    near = unit[4 + OFFSET : 4 + OFFSET + WORDS] @ unit[4 : 4 + WORDS].T
    assert (near.argmax(1) == torch.arange(WORDS)).all() and near.diagonal().min() > 0.4
    torch.testing.assert_close(embed.weight.detach().norm(dim=1), before)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_source_of_one_word_is_said_before_anything_is_learned(kind):
    torch.manual_seed(0)
    shape = Shape(64, 2, 4, 128, 50, positions="sinusoidal")
    if kind == "transformer":
        model: nn.Module = TransformerTranslator(64, shape, shape, lexical=True).eval()
    else:
        model = RecurrentTranslator(64, "lstm", 64, 64, 1, lexical=True).eval()
    source_BS = torch.arange(4, 64).unsqueeze(1)
    logits_BTV = model(source_BS, torch.full((60, 1), 2))["token_logits"]
    right = (logits_BTV[:, 0].argmax(1) == source_BS[:, 0]).float().mean()
    assert right > 0.9


@pytest.mark.parametrize("targets", [[[3]], [[3], [3]]])
def test_a_lexicon_of_nothing_changes_no_embedding(targets):
    embed = nn.Embedding(8, 4)
    before = embed.weight.detach().clone()
    start_from_lexicon(embed, [[3]] * len(targets), targets)
    torch.testing.assert_close(embed.weight.detach(), before)
