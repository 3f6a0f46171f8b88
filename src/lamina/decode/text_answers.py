"""Texts that go on with a text: the decoder of a language model. Needs only numpy.

Legend: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.decode.beam import beam_search
from lamina.decode.sampling import Sampling
from lamina.decode.steps import Arrays, Steps, steps_of
from lamina.decode.writing import Length, Writer, write
from lamina.errors import LaminaError

FIRST = 4
"""The ids of padding, unknown, beginning and end come before those of the pieces."""


def text_of(pieces: Sequence[str], tokens: Sequence[int]) -> str:
    """The text of token ids. A piece is bytes, each written as the character of its number; what is no UTF-8 is replaced."""
    inside = [pieces[token - FIRST] for token in tokens if FIRST <= token < len(pieces) + FIRST]
    return "".join(inside).encode("latin-1").decode("utf-8", errors="replace")


@dataclass(frozen=True)
class TextAnswers:
    """From a language model to what it writes after each prompt."""

    pieces: tuple[str, ...]
    """The bytes of every token from id 4 on, each byte as the character of its number."""
    context: int
    """How many tokens the model sees."""
    new_tokens: int = 200
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    beams: int = 1
    length_penalty: float = 1.0
    draw_seed: int = 0
    input: str = "tokens"

    @property
    def continues(self) -> bool:
        return True

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p, self.min_p, self.repetition_penalty)

    def check(self) -> None:
        """Raises LaminaError naming the first setting whose value makes no sense."""
        self.sampling.check()
        for name in ("new_tokens", "beams"):
            if getattr(self, name) < 1:
                raise LaminaError(f"--{name.replace('_', '-')}: expected 1 or more; got {getattr(self, name)}")

    def answers(self, ask: Callable[[Arrays], Mapping[str, np.ndarray]] | Steps, arrays: Arrays) -> list[dict[str, Any]]:
        """{"text", "tokens": how many, "ended": stop, end or length} an example."""
        self.check()
        if self.beams > 1:
            return self._searched(steps_of(ask, self.input), arrays)
        writers = self._writers(arrays)
        for _ in self._written(ask, arrays, writers):
            pass
        return [{"text": w.text, "tokens": len(w.tokens), "ended": w.ended} for w in writers]

    def stream(self, ask: Callable[[Arrays], Mapping[str, np.ndarray]] | Steps, arrays: Arrays) -> Iterator[tuple[int, str]]:
        """(example, piece) as they come. Beams are told whole: until the last token, none is sure."""
        self.check()
        if self.beams > 1:
            yield from enumerate(answer["text"] for answer in self.answers(ask, arrays))
        else:
            yield from self._written(ask, arrays, self._writers(arrays))

    def _writers(self, arrays: Arrays) -> list[Writer]:
        return [Writer(lambda tokens: text_of(self.pieces, tokens), self.stop) for _ in arrays[self.input]]

    def _written(self, ask: Any, arrays: Arrays, writers: list[Writer]) -> Iterator[tuple[int, str]]:
        length = Length(self.new_tokens, self.context)
        return write(steps_of(ask, self.input), arrays, self.sampling, length, writers, self.draw_seed)

    def _searched(self, steps: Steps, arrays: Arrays) -> list[dict[str, Any]]:
        room = self.context - np.count_nonzero(arrays[self.input], axis=1)
        if room.min(initial=1) < 1:
            raise LaminaError(f"--beams: expected prompts shorter than the {self.context} tokens that the model sees")
        most_B = np.minimum(room, self.new_tokens)
        if arrays[self.input].shape[1] + most_B.max(initial=0) <= self.context:
            found = beam_search(steps, arrays, self.beams, most_B, self.length_penalty)
        else:  # beside longer rows, padding would take the room of shorter ones
            rows = [{name: value[row : row + 1] for name, value in arrays.items()} for row in range(len(most_B))]
            found = [beam_search(steps, row, self.beams, m, self.length_penalty)[0] for row, m in zip(rows, most_B, strict=True)]
        answers = []
        for best, *_ in found:
            writer = Writer(lambda tokens: text_of(self.pieces, tokens), self.stop)
            for token in best.tokens:
                if writer.ended is None:
                    writer.add(token)
            writer.finish("end" if best.ended else "length")
            answers.append({"text": writer.text, "tokens": len(writer.tokens), "ended": writer.ended})
        return answers
