"""Byte-pair encoding: the pairs of neighbours that stand most often together become one token.

Gage 1994; Sennrich et al. 2016 for words; over bytes, so that every text can be written, as in GPT-2 (Radford et al. 2019).
Pairs never cross the borders of words, numbers, signs and white space. `tokenizers` learns the pairs; encoding is ours, so that
an exported folder needs numpy alone. A merge's rank is the order of its token, which is how the pieces say the merges.

Legend: T tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

FIRST = 4
WORDS = r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d{1,3}| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+"
"""GPT-2's borders in the words of `re`; numbers in threes, so that no number is a token of its own."""
KEPT_WORDS = 2**18


@lru_cache(maxsize=4)
def encoder(pieces: tuple[str, ...]) -> Callable[[str], np.ndarray]:
    """From text to ids (T,) int64. The ids of words are kept, since words repeat."""
    rank = {piece: place for place, piece in enumerate(pieces)}
    pattern = re.compile(WORDS)

    @lru_cache(maxsize=KEPT_WORDS)
    def of_word(word: str) -> tuple[int, ...]:
        parts = list(word.encode(errors="replace").decode("latin-1"))
        while len(parts) > 1:
            ranks = [rank.get(a + b, len(rank)) for a, b in pairwise(parts)]
            best = min(ranks)
            if best == len(rank):
                break
            place = ranks.index(best)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return tuple(rank[part] + FIRST for part in parts)

    def encode(text: str) -> np.ndarray:
        return np.asarray([token for word in pattern.findall(text) for token in of_word(word)], np.int64)

    return encode


def learned(texts: Sequence[str], size: int) -> tuple[str, ...]:
    """The 256 bytes, then merged pieces in the order in which they were learned: `size` together at most."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel, Split
    from tokenizers.pre_tokenizers import Sequence as InTurn
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(BPE())
    byte_level = ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = InTurn([Split(Regex(WORDS), "isolated"), byte_level])  # type: ignore[assignment]
    trainer = BpeTrainer(vocab_size=size, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    shown = shown_bytes()
    ordered = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    merged = ["".join(shown[character] for character in token) for token, _ in ordered]
    singles = [chr(value) for value in range(256)]
    return (*singles, *[piece for piece in merged if len(piece) > 1])


def shown_bytes() -> dict[str, str]:
    """GPT-2's printable stand-ins for bytes -> the character of the byte's number."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [value for value in range(256) if value not in plain]
    return {**{chr(v): chr(v) for v in plain}, **{chr(256 + i): chr(v) for i, v in enumerate(others)}}
