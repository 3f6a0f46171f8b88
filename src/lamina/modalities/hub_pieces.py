"""The tokenizer of a pretrained model as pieces of bytes, which is what decoding needs, and its chat template.

Its own ids are moved by four, after padding, unknown, the beginning and the end.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lamina.errors import LaminaError
from lamina.modalities.byte_pairs import shown_bytes

FIRST = 4
BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def opened(place: str) -> Any:
    """The fast tokenizer in a folder, or of a name on the hub. Raises LaminaError where there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=Path(place).is_dir())
    except (OSError, ValueError) as error:
        raise LaminaError(
            f"--pretrained {place}: expected a model with a tokenizer; {' '.join(str(error).split())[:200]}"
        ) from error
    if not tokenizer.is_fast:
        raise LaminaError(f"--pretrained {place}: expected a tokenizer that holds a tokenizer.json; it has none")
    return tokenizer


def pieces_of(tokenizer: Any) -> tuple[str, ...]:
    """The bytes of every token, by its own id; special tokens are none."""
    vocabulary, special = tokenizer.get_vocab(), set(tokenizer.all_special_tokens)
    shown = shown_bytes()
    byte_level = all(c in shown for token in list(vocabulary)[:1000] if token not in special for c in token)
    made = [""] * (max(vocabulary.values()) + 1)
    for token, own in vocabulary.items():
        if token in special:
            continue
        if byte_level and all(c in shown for c in token):
            made[own] = "".join(shown[c] for c in token)
        elif byte := BYTE.fullmatch(token):
            made[own] = chr(int(byte[1], 16))
        else:
            made[own] = token.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode().decode("latin-1")
    return tuple(made)


@lru_cache(maxsize=4)
def of_json(content: str) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_str(content)


def ids(content: str, text: str) -> np.ndarray:
    """Token ids (T,) int64 of `text` by the tokenizer.json `content`, moved by four."""
    found = of_json(content).encode(text, add_special_tokens=False).ids
    return np.asarray(found, np.int64) + FIRST


def chat_frame(tokenizer: Any) -> tuple[str, str]:
    """What the tokenizer's chat template writes before and after what a person says; empty where it has none.

    The token of the beginning is left out: every row has it.
    """
    if not tokenizer.chat_template:
        return "", ""
    said = "\N{BLACK STAR}"
    message = [{"role": "user", "content": said}]
    before, _, after = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True).partition(said)
    return before.removeprefix(tokenizer.bos_token or ""), after


def json_of(tokenizer: Any) -> str:
    """Its tokenizer.json."""
    return tokenizer.backend_tokenizer.to_str()


def spans(content: str, text: str) -> np.ndarray:
    """Where each token of `ids` starts and ends in `text` (T, 2), in characters."""
    found = of_json(content).encode(text, add_special_tokens=False).offsets
    return np.asarray(found, np.int64).reshape(-1, 2)
