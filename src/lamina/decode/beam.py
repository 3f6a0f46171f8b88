"""Beam search: of the continuations that a model thinks likely, the best few are followed together. Needs only numpy.

Graves 2012 and Sutskever et al. 2014, section 3.2, with the length penalty of Wu et al. 2016 in its common form: a finished
text scores sum(log p) / length^penalty, its end counted; 0 is the plain sum, which favours short texts, 1 the mean. At each
step the 2W best continuations of a row's W texts are looked at; those that end and are among the W best are finished, the
W best of the others go on. A row is done when W have finished, or at the greatest length, where those that have not ended
count as they stand. A width of 1 is greedy.

Legend: B rows, W texts followed for each, N of all those that still go on, T tokens, V words of the vocabulary, K of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lamina.decode.steps import EOS, Arrays, Steps, left_padded, log_sum_exp, unpadded
from lamina.decode.writing import NEVER


@dataclass(frozen=True)
class Found:
    """One text that beam search found."""

    tokens: tuple[int, ...]
    """Without what it began with, and without the end."""
    score: float
    ended: bool
    """Whether the model ended it; otherwise the greatest length did."""


@dataclass
class Search:
    """One row: the texts that are followed and those that have finished."""

    width: int
    penalty: float
    texts: list[tuple[int, ...]] = field(default_factory=lambda: [()])
    sums: list[float] = field(default_factory=lambda: [0.0])
    finished: list[Found] = field(default_factory=list)

    def advance(self, token_WK: np.ndarray, logp_WK: np.ndarray) -> tuple[list[int], list[int]]:
        """Follow one token further, each text's K likeliest; returns for every text that goes on the place of its parent and its
        new token."""
        total = (np.asarray(self.sums)[:, None] + logp_WK).reshape(-1)
        token, width = token_WK.reshape(-1), token_WK.shape[1]
        place = np.arange(len(total)) // width
        best = np.lexsort((token, place, -total))[: 2 * self.width]  # of equals the first, as argmax has it
        parents: list[int] = []
        tokens: list[int] = []
        sums: list[float] = []
        for rank, (parent, new, value) in enumerate(
            zip(place[best].tolist(), token[best].tolist(), total[best].tolist(), strict=True)
        ):
            if value == -np.inf:
                break
            if new == EOS:
                if rank < self.width:
                    self.finish(self.texts[parent], value, True)
            elif len(parents) < self.width:
                parents.append(parent)
                tokens.append(new)
                sums.append(value)
        self.texts = [(*self.texts[parent], token) for parent, token in zip(parents, tokens, strict=True)]
        self.sums = sums
        if len(self.finished) >= self.width:
            self.texts, self.sums = [], []
            return [], []
        return parents, tokens

    def finish(self, text: tuple[int, ...], total: float, ended: bool) -> None:
        length = len(text) + ended
        self.finished.append(Found(text, total / max(length, 1) ** self.penalty, ended))

    def best(self) -> list[Found]:
        """What was found, best first. What has not ended counts as it stands where too few have."""
        for text, total in zip(self.texts, self.sums, strict=True):
            self.finish(text, total, False)
        self.texts, self.sums = [], []
        return sorted(self.finished, key=lambda f: -f.score)[: self.width]


def beam_search(
    steps: Steps, arrays: Arrays, width: int, most: int | np.ndarray, penalty: float = 1.0, least: int = 0
) -> list[list[Found]]:
    """Continuations of the last of `arrays` (B, T): for each row up to `width` of them, the best first.

    most: new tokens at most, one number or one a row (B,). least: new tokens before the end may come.
    Rows that are done leave the batch; a row is searched alike alone and in any batch.
    """
    *_, grows = arrays
    count = len(arrays[grows])
    most_B = np.broadcast_to(np.asarray(most), (count,))
    searches = [Search(width, penalty) for _ in range(count)]
    live = [row for row in range(count) if most_B[row] > 0]
    if not live:
        return [search.best() for search in searches]
    begun = {**{name: value[live] for name, value in arrays.items()}, grows: left_padded(unpadded(arrays[grows][live]))}
    logits_NV, state = steps.begin(begun)
    while True:
        token_NK, logp_NK = likeliest(logits_NV, 2 * width, ended=len(searches[live[0]].texts[0]) >= least)
        parents: list[int] = []
        tokens: list[int] = []
        start = 0
        for row in live:
            search = searches[row]
            stop = start + len(search.texts)
            of_row, new = search.advance(token_NK[start:stop], logp_NK[start:stop])
            if search.texts and len(search.texts[0]) < most_B[row]:
                parents += [start + parent for parent in of_row]
                tokens += new
            start = stop
        live = [row for row in live if searches[row].texts and len(searches[row].texts[0]) < most_B[row]]
        if not live:
            return [search.best() for search in searches]
        if parents != list(range(len(logits_NV))):  # greedy rows mostly go on as they stand: nothing to be copied
            state = steps.rows(state, np.asarray(parents, np.int64))
        logits_NV, state = steps.step(np.asarray(tokens, np.int64), state)


def likeliest(logits_NV: np.ndarray, count: int, ended: bool) -> tuple[np.ndarray, np.ndarray]:
    """The `count` likeliest tokens of each row and their log probabilities (N, K), in no order. ended: whether the end is one."""
    never = [*NEVER, *([] if ended else [EOS])]
    total_N1 = log_sum_exp(logits_NV)
    allowed_NV = np.array(logits_NV, np.float32)
    allowed_NV[:, never] = -np.inf
    count = min(count, allowed_NV.shape[1])
    token_NK = np.argpartition(-allowed_NV, count - 1, axis=1)[:, :count]
    return token_NK, np.take_along_axis(allowed_NV, token_NK, 1) - total_N1
