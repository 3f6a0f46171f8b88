"""Beam search equals a search by brute force, transformers', and greedy where its width is 1."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from lamina.decode.beam import beam_search
from lamina.decode.sampling import Sampling
from lamina.decode.steps import EOS, WholeCalls, left_padded
from test_sampling import letters, texts_of
from tiny_writer import Table, asked_whole, tiny_gpt2


def logp_after(steps: Table, text: tuple[int, ...]) -> np.ndarray:
    logp = torch.from_numpy(steps.logits(text)).double().log_softmax(0).numpy()
    logp[[0, 2]] = -np.inf
    return logp


def by_brute_force(steps: Table, prompt: tuple[int, ...], most: int, penalty: float) -> tuple[tuple[int, ...], float]:
    """The best of all texts that end, or are as long as may be."""
    words = [w for w in range(steps.vocabulary) if w not in (0, 2, EOS)]
    best, best_score = (), -np.inf
    for length in range(most + 1):
        for text in itertools.product(words, repeat=length):
            total = sum(logp_after(steps, prompt + text[:i])[word] for i, word in enumerate(text))
            ends = length < most
            total += logp_after(steps, prompt + text)[EOS] if ends else 0.0
            score = total / max(length + ends, 1) ** penalty
            if score > best_score:
                best, best_score = text, score
    return best, best_score


def by_hand(steps: Table, prompt: tuple[int, ...], width: int, most: int, penalty: float) -> list[tuple[tuple[int, ...], float]]:
    """Beam search over plain lists, one text at a time."""
    beams, done = [((), 0.0)], []
    for _ in range(most):
        grown = [
            ((*text, word), total + p)
            for text, total in beams
            for word, p in enumerate(logp_after(steps, prompt + text))
            if p > -np.inf
        ]
        grown = sorted(grown, key=lambda g: -g[1])[: 2 * width]
        done += [(t[:-1], total / len(t) ** penalty) for t, total in grown[:width] if t[-1] == EOS]
        beams = [g for g in grown if g[0][-1] != EOS][:width]
        if len(done) >= width:
            beams = []
            break
    done += [(t, total / len(t) ** penalty) for t, total in beams]
    return sorted(done, key=lambda d: -d[1])[:width]


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_holds_everything_finds_the_best_of_all_texts(seed: int, penalty: float):
    steps, prompt, most = Table(6, seed), (2, 5), 3
    (found,) = beam_search(steps, {"tokens": np.asarray([prompt])}, 400, most, penalty)
    text, score = by_brute_force(steps, prompt, most, penalty)
    assert found[0].tokens == text and found[0].score == pytest.approx(score)
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)


@pytest.mark.parametrize("width", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_equals_a_search_by_hand(width: int, seed: int):
    steps, prompt = Table(9, seed, sharp=1.0), (2, 4)
    (found,) = beam_search(steps, {"tokens": np.asarray([prompt])}, width, 6, 0.8)
    wanted = by_hand(steps, prompt, width, 6, 0.8)
    assert [f.tokens for f in found] == [text for text, _ in wanted]
    assert [f.score for f in found] == pytest.approx([score for _, score in wanted])


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_equals_transformers(width: int, penalty: float):
    model, prompts = tiny_gpt2(), [[2, 7, 8], [2, 11], [2, 5, 6, 9, 21, 30]]
    steps = WholeCalls(asked_whole(model), "tokens")
    for prompt, found in zip(prompts, beam_search(steps, {"tokens": left_padded(prompts)}, width, 12, penalty), strict=True):
        with torch.no_grad():
            made = model.generate(
                torch.tensor([prompt]), num_beams=width, do_sample=False, max_new_tokens=12, suppress_tokens=[0, 2],
                length_penalty=penalty, early_stopping=True,
            )  # fmt: skip
        assert list(found[0].tokens) == [t for t in made[0, len(prompt) :].tolist() if t not in (0, 3)]


@pytest.mark.parametrize("seed", range(5))
def test_a_width_of_one_is_greedy(seed: int):
    steps, prompts = Table(9, seed), [[2, 5], [2, 6, 7, 8], [2]]
    found = beam_search(steps, {"tokens": left_padded(prompts)}, 1, 15)
    assert [letters(f[0].tokens) for f in found] == texts_of(steps, prompts, Sampling(temperature=0), 15)


def test_a_batch_equals_its_rows_alone_and_rows_have_lengths_of_their_own():
    steps, prompts, most = Table(12, 1), [[2, 5], [2, 6, 7, 8], [2], [2, 9]], np.asarray([4, 9, 2, 0])
    together = beam_search(steps, {"tokens": left_padded(prompts)}, 3, most)
    alone = [beam_search(steps, {"tokens": np.asarray([p])}, 3, int(m))[0] for p, m in zip(prompts, most, strict=True)]
    assert together == alone
    assert all(len(f.tokens) <= m for found, m in zip(together, most, strict=True) for f in found)
    assert together[3][0].tokens == ()


def test_a_least_length_is_kept():
    steps = Table(6, 2)
    (found,) = beam_search(steps, {"tokens": np.asarray([[2, 5]])}, 2, 8, least=5)
    assert all(len(f.tokens) >= 5 for f in found)
