"""What a translator knows of words before it learns: a dictionary that is counted, and where it is asked."""

import numpy as np
import pytest
import torch
from torch import nn

from lamina.models.lexicon import NOTHING, STEEP, dictionary, lexicon, start
from lamina.models.recurrent_translator import RecurrentTranslator
from lamina.models.transformer import Shape
from lamina.models.transformer_translator import TransformerTranslator
from lamina.nn.attention import CrossAttention, padding_mask
from lamina.nn.lexical import Diagonal, Dictionary, there
from sequence_checks import close

WORDS, OFFSET, END = 20, 30, 3
"""Word i of the source is word i + OFFSET of the target."""


def pairs(count=400, seed=0):
    """Sentences of 3 to 8 words, neighbours exchanged at random, and a word that translates nothing."""
    rng = np.random.default_rng(seed)
    sources, targets = [], []
    for _ in range(count):
        source = rng.choice(np.arange(4, 4 + WORDS), int(rng.integers(3, 9)), replace=False)
        order = np.argsort(np.arange(len(source)) + rng.random(len(source)) * 1.5)
        sources.append([*source.tolist(), END])
        targets.append([*(source[order] + OFFSET).tolist(), 60, END])
    return sources, targets


def near(i, j, source, target):
    """The diagonal of Dyer et al. 2013 (section 2), for one pair of places; the source's last place is its end."""
    if i == source - 1:
        return NOTHING
    heights = [np.exp(-STEEP * abs((k + 0.5) / (source - 1) - (j + 0.5) / target)) for k in range(source - 1)]
    return (1 - NOTHING) * heights[i] / sum(heights)


def by_hand(sources, targets, steps=5):
    """Expectation maximization as the paper has it, in loops over dictionaries: p(target's token | source's token)."""
    p = {(s, t): 1.0 for source, target in zip(sources, targets, strict=True) for s in source for t in target}
    for _ in range(steps):
        count = dict.fromkeys(p, 0.0)
        for source, target in zip(sources, targets, strict=True):
            for j, t in enumerate(target):
                share = [p[s, t] * near(i, j, len(source), len(target)) for i, s in enumerate(source)]
                for s, value in zip(source, share, strict=True):
                    count[s, t] += value / sum(share)
        whole = {}
        for (s, _), value in count.items():
            whole[s] = whole.get(s, 0.0) + value
        p = {(s, t): value / whole[s] for (s, t), value in count.items()}
    return p


def test_the_lexicon_is_what_loops_find():
    sources, targets = pairs(30)
    truth = by_hand(sources, targets)
    found = {(int(s), int(t)): float(p) for s, t, p in zip(*lexicon(sources, targets), strict=True)}
    assert found.keys() == truth.keys()
    assert all(found[key] == pytest.approx(truth[key], rel=1e-9, abs=1e-300) for key in truth)


def test_the_dictionary_holds_the_most_probable_first():
    word_VK, share_VK = dictionary(*pairs(), 64, 4)
    assert (word_VK[4 : 4 + WORDS, 0] == np.arange(4, 4 + WORDS) + OFFSET).all() and (share_VK[4 : 4 + WORDS, 0] > 0.6).all()
    assert (np.diff(share_VK, axis=1) <= 0).all() and (share_VK.sum(1) <= 1 + 1e-6).all()
    assert word_VK[END, 0] in (END, 60), "what translates nothing translates the end"
    assert (word_VK[24:30, 0] == np.arange(24, 30)).all() and (share_VK[24:30, 0] == 1).all(), "never seen: itself"


@pytest.mark.parametrize(("sources", "targets"), [([], []), ([[]], [[]]), ([[4] * 99], [[5]])])
def test_a_dictionary_of_nothing_says_each_word_as_it_is(sources, targets):
    word_VK, share_VK = dictionary(sources, targets, 8, 2)
    np.testing.assert_array_equal(word_VK[:, 0], np.arange(8))
    np.testing.assert_array_equal(share_VK, [[1, 0]] * 8)


def test_a_source_of_its_end_alone_is_counted():
    source, target, share = lexicon([[END]], [[7, END]])
    np.testing.assert_array_equal(source, [END, END])
    np.testing.assert_array_equal(target, [END, 7])
    np.testing.assert_allclose(share, 0.5)


def test_the_bias_is_the_log_of_what_attention_and_dictionary_say():
    torch.manual_seed(0)
    module = Dictionary(9, 7, 3)
    module.start(torch.randint(7, (9, 3)), torch.rand(9, 3))
    weight_BTS, token_BS, there_BS = torch.rand(2, 4, 5).softmax(2), torch.randint(9, (2, 5)), torch.rand(2, 5)
    expected = torch.full((2, 4, 7), float(module.floor.detach().exp()))
    for b, t, s, k in np.ndindex(2, 4, 5, 3):
        token = token_BS[b, s]
        expected[b, t, module.word[token, k]] += weight_BTS[b, t, s] * module.share[token, k] * there_BS[b, s]
    close(module(weight_BTS, token_BS, there_BS), expected.log())


def test_attention_begins_near_the_diagonal():
    attention = CrossAttention(8, 2, normed=True)
    nn.init.zeros_(attention.query.weight)
    nn.init.zeros_(attention.query.bias)
    inside_BS = torch.tensor([[True] * 6, [False] * 2 + [True] * 4])
    seen, lean_BTS = [], Diagonal()(torch.arange(6).expand(2, 6), inside_BS)
    attention(torch.randn(2, 6, 8), attention.memory(torch.randn(2, 6, 8)), padding_mask(inside_BS), seen, lean_BTS)
    (weight_BTS,) = seen
    assert (weight_BTS[0].argmax(1) == torch.arange(6)).all()
    assert (weight_BTS[1, :4].argmax(1) == torch.arange(2, 6)).all(), "places are counted from the first that is no padding"
    assert (weight_BTS[1, :, :2] == 0).all()
    first_S = Diagonal()(torch.zeros(1, 1), inside_BS[:1])[0, 0]
    close(first_S, -STEEP * torch.arange(6) / 6)


def test_a_transformer_with_a_dictionary_begins_near_the_diagonal():
    """With queries of zero, what is left of its attention is the lean."""
    shape = Shape(16, 2, 2, 24, 50, positions="rotary", normed_heads=True)
    model = TransformerTranslator(12, shape, shape, translations=3).eval()
    for name, parameter in model.named_parameters():
        if "cross.layer.query." in name:
            nn.init.zeros_(parameter)
    row_1S = torch.arange(4, 10).unsqueeze(0)
    assert (model(row_1S, row_1S)["attention"][0].argmax(1) == torch.arange(6)).all()


def test_what_is_left_of_an_embedding_says_so_and_hands_its_gradient_on():
    table_VD, token_BS = torch.randn(9, 6), torch.tensor([[4, 7]])
    embedding_BSD = (torch.tensor([[[1.0], [0.25]]]) * table_VD[token_BS]).requires_grad_()
    there_BS = there(embedding_BSD, token_BS, table_VD)
    close(there_BS, torch.tensor([[1.0, 0.25]]))
    there_BS.sum().backward()
    assert embedding_BSD.grad is not None
    close((embedding_BSD.grad * table_VD[token_BS]).sum(2), torch.ones(1, 2))


def test_no_embedding_makes_a_share_negative():
    table_VD, token_BS = torch.randn(9, 6), torch.tensor([[4, 7]])
    there_BS = there(-2 * table_VD[token_BS], token_BS, table_VD)
    close(there_BS, torch.zeros(1, 2))
    module = Dictionary(9, 7, 3)
    module.start(torch.randint(7, (9, 3)), torch.rand(9, 3))
    assert torch.isfinite(module(torch.full((1, 1, 2), 0.5), token_BS, there_BS)).all()


def translator(kind):
    torch.manual_seed(0)
    if kind == "lstm":
        return RecurrentTranslator(64, "lstm", 32, 32, 1, dropout=0.0, translations=4)
    shape = Shape(32, 1, 2, 64, 50, positions="sinusoidal")
    return TransformerTranslator(64, shape, shape, translations=4)


@pytest.mark.parametrize("kind", ["transformer", "lstm"])
def test_a_network_with_a_dictionary_learns_sooner(kind):
    sources, targets = pairs(600)
    loss = {}
    for told in (True, False):
        model, rng = translator(kind), np.random.default_rng(0)
        if told:
            assert model.dictionary is not None
            start(model.dictionary, sources, targets)
        optimizer, losses = torch.optim.AdamW(model.parameters(), lr=5e-3), []
        for _ in range(30):
            source_BS = torch.from_numpy(rng.integers(4, 4 + WORDS, (64, 5)))
            target_BT = source_BS + OFFSET
            before_BT = torch.cat([torch.full((64, 1), 2), target_BT[:, :-1]], 1)
            found = nn.functional.cross_entropy(model(source_BS, before_BT)["token_logits"].flatten(0, 1), target_BT.flatten())
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
            losses.append(float(found.detach()))
        loss[told] = np.mean(losses[-5:])
    assert loss[True] < 0.5 * loss[False], loss
