"""Texts written token by token: rows that end leave the batch, pieces are told as they come. Needs only numpy.

Legend: B rows, N rows that still write, T tokens, V words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lamina.decode.sampling import Sampling, draw, generator_of
from lamina.decode.steps import BOS, EOS, PAD, Arrays, Steps, left_padded, unpadded

NEVER = (PAD, BOS)
"""Tokens that are never written."""
BROKEN = "\N{REPLACEMENT CHARACTER}"


class Writer:
    """The text of one row as its tokens come, told in pieces that never change afterwards.

    `decode` makes text of token ids. A piece is held back while it may end in the middle of a character (bytes that are yet to
    come) or in the beginning of a stop string. Text from a stop string on is never told.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self.decode, self.stop = decode, [s for s in stop if s]
        self.tokens: list[int] = []
        self.text = ""
        """All that was told."""
        self.held = ""
        """Whole characters that may be the beginning of a stop string."""
        self.ended: str | None = None
        """Why nothing more comes: `stop`, `end` or `length`."""
        self._known = self._read = 0

    def add(self, token: int) -> str:
        """The piece that `token` completes: often empty. Decoded beside the tokens before it, on which its spaces may depend."""
        self.tokens.append(token)
        before = self.decode(self.tokens[self._known : self._read])
        now = self.decode(self.tokens[self._known :])
        if now.endswith(BROKEN) and len(self.tokens) - self._read < 4:  # no character takes more than four bytes
            return ""
        self._known, self._read = self._read, len(self.tokens)
        return self._told(now[len(before) :])

    def finish(self, why: str) -> str:
        """The rest, where no more tokens come; nothing where a stop string has ended the row."""
        if self.ended is not None:
            return ""
        before = self.decode(self.tokens[self._known : self._read])
        rest = self._told(self.decode(self.tokens[self._known :])[len(before) :])
        if self.ended is None:
            rest, self.text, self.held, self.ended = rest + self.held, self.text + self.held, "", why
        return rest

    def _told(self, more: str) -> str:
        ready = self.held + more
        found = [place for place in (ready.find(s) for s in self.stop) if place >= 0]
        if found:
            piece, self.held, self.ended = ready[: min(found)], "", "stop"
        else:
            keep = max((overlap(ready, s) for s in self.stop), default=0)
            piece, self.held = ready[: len(ready) - keep], ready[len(ready) - keep :]
        self.text += piece
        return piece


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


@dataclass(frozen=True)
class Length:
    """How long texts get: `most` new tokens, of which the model sees the last `context` at a time (None: all)."""

    most: int
    context: int | None = None

    def cropped(self, tokens: list[int]) -> list[int]:
        """What the model is begun with again where a row has outgrown it: the later half, after the row's beginning token.

        A half, so that a long text is begun again seldom.
        """
        if self.context is None or len(tokens) <= self.context:
            return tokens
        first = tokens[:1] if tokens[0] == BOS else []
        return [*first, *tokens[-max(1, self.context // 2 - len(first)) :]]


def write(
    steps: Steps, arrays: Arrays, sampling: Sampling, length: Length, writers: Sequence[Writer], seed: int = 0
) -> Iterator[tuple[int, str]]:
    """Go on with the last of `arrays` (B, T), row by row in `writers`; yields (row, piece) as pieces come, until all have ended.

    Padding may stand on either side; the model is given it on the left. A row draws from `seed` and what it begins with.
    """
    *_, grows = arrays
    held = unpadded(arrays[grows])
    seen = [list(row) for row in held]
    generators = [generator_of(seed, row) for row in held]
    live = np.arange(len(held)) if length.most > 0 else np.empty(0, np.int64)
    while len(live):  # once, and again whenever the rows have outgrown what the model sees
        for row in live.tolist():  # by its own length, not by the batch's
            seen[row] = length.cropped(seen[row])
        begun = left_padded([seen[row] for row in live.tolist()])
        logits_NV, state = steps.begin({**{name: value[live] for name, value in arrays.items()}, grows: begun})
        width = begun.shape[1]
        while True:
            logits_NV = np.array(logits_NV, copy=True)
            logits_NV[:, NEVER] = -np.inf
            token_N = np.asarray(
                [draw(z_V, sampling, generators[row], held[row]) for row, z_V in zip(live.tolist(), logits_NV, strict=True)],
                np.int64,
            )
            for row, token in zip(live.tolist(), token_N.tolist(), strict=True):
                held[row].append(token)
                seen[row].append(token)
                piece = taken(writers[row], token, length.most)
                if piece:
                    yield row, piece
            keep = np.flatnonzero([writers[row].ended is None for row in live.tolist()])
            width += 1
            if len(keep) < len(live):
                live, token_N = live[keep], token_N[keep]
                state = steps.rows(state, keep) if len(live) else None
            if not len(live) or (length.context is not None and width > length.context):
                break
            logits_NV, state = steps.step(token_N, state)
    for row, writer in enumerate(writers):
        rest = writer.finish("length")
        if rest:
            yield row, rest


def taken(writer: Writer, token: int, most: int) -> str:
    """The piece that a row's new token completes; the row ends where the text or its length does."""
    if token == EOS:
        return writer.finish("end")
    piece = writer.add(token)
    return piece + writer.finish("length") if len(writer.tokens) >= most else piece
