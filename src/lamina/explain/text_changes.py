"""Counterfactual texts: the fewest words whose removal, or replacement by words of training texts, flips the answer.

The changed text is a real one, encoded as any other. Removal tries every word alone, then every pair where pairs are few
enough to try (which is then exact), else it takes away one word after another, each time the one that weakens the answer
most, and at last puts back each word that need not have gone. Replacement does the same with the words that stand most often
in training texts of other answers (log odds with a prior, Monroe et al. 2008, equation 22), at the places that weaken the
answer most.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from lamina.explain.subject import MOST
from lamina.modalities.words import Span, split_words
from lamina.task import Batch, Columns, Task
from lamina.train.precision import float32

MOST_WORDS = 10
"""Words that are changed at most."""
MOST_PAIRS = 300
"""Pairs of words that are all tried: those of 25 words."""
PLACES, CANDIDATES = 6, 16
"""Words that are replaced, and words that each is replaced with, in one round."""
LEAST_TEXTS = 3
"""Training texts that a word must stand in to be put in the place of another."""

Change = dict[int, str]
"""What stands in the place of some words, by their number; nothing where a word is taken away."""


@dataclass(frozen=True)
class Texts:
    """The model, asked about changed texts of one example. `columns` is that example as a client sends it, one row."""

    task: Task
    model: nn.Module
    columns: Columns
    said: Batch
    """The frozen labels of that example, one row, and whatever else was frozen with them."""

    def answer(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The classes (V,) said of texts, and how strongly (V,) they still say what was said."""
        answers, scores = [], []
        label = self.task.labels[0]
        for start in range(0, len(texts), MOST):
            batch = self.batch(texts[start : start + MOST])
            count = len(batch[self.task.inputs[0].name])
            with torch.no_grad():
                answers.append(self.task.target(lambda *x: float32(self.model(*x)), batch)[label])
                frozen = {**batch, label: self.said[label].expand(count, *self.said[label].shape[1:])}
                scores.append(self.task.score(float32(self.task.outputs(self.model, frozen)), frozen))
        return torch.cat(answers).cpu().numpy(), torch.cat(scores).double().cpu().numpy()

    def batch(self, texts: Sequence[str]) -> Batch:
        """Texts encoded, the other columns as they are."""
        name = self.task.asks[0]
        columns = {key: list(column) * len(texts) for key, column in self.columns.items() if key in self.task.asks}
        device = self.said[self.task.labels[0]].device
        return {key: value.to(device) for key, value in self.task.encode({**columns, name: list(texts)}, "predict").items()}


def changed(text: str, spans: Sequence[Span], change: Change) -> str:
    """The text with some words taken away or replaced, and no double space where one went."""
    made, end = "", 0
    for number in sorted(change):
        start, stop = spans[number]
        made += text[end:start] + change[number]
        end = stop
        if not change[number] and (not made or made[-1].isspace()):
            while end < len(text) and text[end].isspace():
                end += 1
    return (made + text[end:]).strip()


def fewest_removed(ask: Texts, text: str, spans: Sequence[Span]) -> Change | None:
    """The fewest words without which the answer is another; None where taking away ten, or all but one, does not do it."""
    (was,), _ = ask.answer([text])
    alone = [{i: ""} for i in range(len(spans))]
    if len(spans) < 2:
        return None
    flipped, score_V = _tried(ask, text, spans, alone, was)
    if flipped is not None:
        return flipped
    if math.comb(len(spans), 2) <= MOST_PAIRS and len(spans) > 2:
        pairs: list[Change] = [{i: "", j: ""} for i, j in itertools.combinations(range(len(spans)), 2)]
        flipped, _ = _tried(ask, text, spans, pairs, was)
        if flipped is not None:
            return flipped
    start: Change = {int(score_V.argmin()): ""}
    return _greedy(ask, text, spans, start, was, lambda now: [{**now, i: ""} for i in range(len(spans)) if i not in now])


def fewest_replaced(ask: Texts, text: str, spans: Sequence[Span], candidates: Sequence[str]) -> Change | None:
    """The fewest words that must be replaced with `candidates` for another answer; None where ten do not do it."""
    if not candidates or not spans:
        return None
    (was,), _ = ask.answer([text])
    _, score_V = ask.answer([changed(text, spans, {i: ""}) for i in range(len(spans))])
    order = [int(i) for i in np.argsort(score_V, kind="stable")]

    def next_ones(now: Change) -> list[Change]:
        places = [i for i in order if i not in now][:PLACES]
        return [
            {**now, i: as_cased(word, text[spans[i][0] : spans[i][1]])}
            for i in places
            for word in candidates
            if word != text[spans[i][0] : spans[i][1]].casefold()
        ]

    return _greedy(ask, text, spans, {}, was, next_ones)


def as_cased(word: str, like: str) -> str:
    """A word in lower case, with a capital where the word it replaces has one."""
    return word[:1].upper() + word[1:] if like[:1].isupper() else word


def _tried(ask: Texts, text: str, spans: Sequence[Span], tries: list[Change], was: int) -> tuple[Change | None, np.ndarray]:
    """Of the changes that flip the answer the one after which it is most another's; and the scores (V,) of all."""
    answer_V, score_V = ask.answer([changed(text, spans, one) for one in tries])
    flips = np.flatnonzero(answer_V != was)
    return (tries[int(flips[np.argmin(score_V[flips])])] if len(flips) else None), score_V


def _greedy(
    ask: Texts, text: str, spans: Sequence[Span], now: Change, was: int, next_ones: Callable[[Change], list[Change]]
) -> Change | None:
    most = min(MOST_WORDS, len(spans) - (0 if not now else 1))  # a text without any word is none
    while len(now) < most:
        tries = next_ones(now)
        if not tries:
            return None
        flipped, score_V = _tried(ask, text, spans, tries, was)
        if flipped is not None:
            return _trimmed(ask, text, spans, flipped, was)
        now = tries[int(score_V.argmin())]
    return None


def _trimmed(ask: Texts, text: str, spans: Sequence[Span], change: Change, was: int) -> Change:
    """The same change without what it does not need."""
    for number in list(change):
        fewer = {i: word for i, word in change.items() if i != number}
        if fewer and ask.answer([changed(text, spans, fewer)])[0][0] != was:
            change = fewer
    return change


def typical_words(texts: Sequence[str], answer_N: np.ndarray) -> dict[int, list[str]]:
    """For each answer the words that stand more often in the training texts of others, the surest first."""
    inside = [{text[a:b].casefold() for a, b in split_words(text) if text[a:b].isalpha()} for text in texts]
    whole = Counter(word for words in inside for word in words)
    known = [word for word, count in whole.items() if count >= LEAST_TEXTS]
    found: dict[int, list[str]] = {}
    for answer in np.unique(answer_N).tolist():
        other = Counter(word for words, k in zip(inside, answer_N.tolist(), strict=True) if k != answer for word in words)
        here, there = int((answer_N == answer).sum()), int((answer_N != answer).sum())
        scores: dict[str, Any] = {}
        for word in known:
            b, a = other[word] + 0.5, whole[word] - other[word] + 0.5
            odds = math.log(b / (there - b + 1)) - math.log(a / (here - a + 1))
            scores[word] = odds / math.sqrt(1 / a + 1 / b)
        found[int(answer)] = [w for w in sorted(scores, key=lambda w: (-scores[w], w)) if scores[w] > 0][:CANDIDATES]
    return found
