"""Pretrained vectors of words or tokens, to start an embedding from: what a word means is known before the first label is seen.

    .safetensors     one matrix (V, D), a row a token of the tokenizer.json that goes with it (wordllama, model2vec)
    .txt, .vec       a word and its D numbers a line, with or without a line of counts first (GloVe, word2vec, fastText)

Shapes: V tokens, D features.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lamina.errors import LaminaError

SPREAD = 0.3
"""Standard deviation that the vectors are brought to: about that of GloVe's, whatever their own is."""


def width_of(file: str) -> int:
    """D. Raises LaminaError where the file holds no vectors."""
    path = Path(file)
    if not path.is_file():
        raise LaminaError(f"--vectors: expected a file of vectors; there is no file {path}")
    if path.suffix == ".safetensors":
        return _matrix(path).shape[1]
    with path.open(encoding="utf-8", errors="replace") as lines:
        first, second = lines.readline().split(), lines.readline().split()
    width = len(second) - 1
    if width < 1 or not (len(first) == 2 or len(first) == width + 1):
        raise LaminaError(f"{path}: expected a word and its numbers a line")
    return width


def words_of(file: str, most: int) -> list[str]:
    """The first `most` words of a .txt or .vec, which begin with the most frequent ones; none of a .safetensors. Raises
    LaminaError where the file holds no vectors."""
    path = Path(file)
    width_of(file)
    if path.suffix == ".safetensors":
        return []
    with path.open(encoding="utf-8", errors="replace") as lines:
        return [line.partition(" ")[0] for line in itertools.islice(lines, most) if not counts(line)]


def counts(line: str) -> bool:
    """Whether a line says only how many vectors of how many numbers there are, as the first of word2vec's files does."""
    fields = line.split()
    return len(fields) == 2 and all(field.isdigit() for field in fields)


def start_from(embed: nn.Embedding, file: str, tokens: Mapping[str, int], pad: int) -> int:
    """Fills the rows of known tokens; returns how many. tokens: name -> number. pad: the tokenizer's number for padding, which
    changed places with 0; its row becomes zeros."""
    path = Path(file)
    width = embed.weight.shape[1]
    if path.suffix == ".safetensors":
        found_VD = _matrix(path)
        known = np.asarray([number for number in sorted(tokens.values()) if number < len(found_VD)])
        rows_VD = found_VD[known]
    else:
        numbers, rows = [], []
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                word, _, rest = line.rstrip().partition(" ")
                if word not in tokens or not rest or (number == 1 and counts(line)):
                    continue
                try:
                    row = np.array(rest.split(), np.float32)
                except ValueError as error:
                    raise LaminaError(f"{path}:{number}: expected {width} numbers after {word!r}; {error}") from error
                if row.shape != (width,):
                    raise LaminaError(f"{path}:{number}: expected {width} numbers after {word!r}; got {len(row)}")
                numbers.append(tokens[word])
                rows.append(row)
        known, rows_VD = np.asarray(numbers, np.int64), np.asarray(rows, np.float32).reshape(-1, width)
    if not len(known):
        raise LaminaError(f"--vectors: expected vectors of tokens of the tokenizer; {path} has none of them")
    places = np.where(known == 0, pad, np.where(known == pad, 0, known)) if pad else known
    scaled_VD = rows_VD * (SPREAD / max(float(rows_VD.std()), 1e-8))
    with torch.no_grad():
        embed.weight.mul_(SPREAD / embed.weight.std().clamp(min=1e-8))
        embed.weight[torch.from_numpy(places)] = torch.from_numpy(np.ascontiguousarray(scaled_VD)).to(embed.weight)
        embed.weight[0] = 0
    return len(known)


def _matrix(path: Path) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise LaminaError(f"{path}: expected a whole safetensors file; {error}") from error
    matrices = [tensor for tensor in tensors.values() if tensor.ndim == 2]
    if not matrices:
        raise LaminaError(f"{path}: expected a matrix of vectors; found {', '.join(tensors) or 'nothing'}")
    return max(matrices, key=lambda tensor: len(tensor)).float().numpy()
