"""Where each word of an answer looks in the input: the reserved output `attention` drawn as an alignment, word by word.

Attention shows where a model reads, not why it answers (Jain and Wallace 2019): it stands beside the attributions, which are
judged for their faithfulness, and not in their place.

Shapes: T places of the answer, S places of the input, N words of the answer, M words of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from lamina.explain.pictures import GAP, INK, PAPER, stacked
from lamina.modalities.words import cut, words_of
from lamina.task import Batch, Task
from lamina.train.precision import float32

ATTENTION = "attention"
CELL, SIZE = 26, 15
MOST_WORDS = 40
"""Words of a side that a picture shows."""
LONGEST = 24
"""Characters of a word that are shown."""
SHADE = (47, 109, 181)


@dataclass(frozen=True)
class Alignment:
    """One answer, its words, those of its input, and how much each of the former looks at each of the latter."""

    words: list[str]
    read: list[str]
    weight_NM: np.ndarray


def alignments(task: Task, model: nn.Module, said: Batch, read: Sequence[Sequence[str]], cell_BS: Tensor) -> list[Alignment]:
    """Of frozen examples; empty where the model gives no attention, or the task's answers are no texts.

    read: the words of each input. cell_BS: the word of each place of the input, -1 in none.
    """
    spoken = task.spoken(said)
    if spoken is None or not len(cell_BS):
        return []
    with torch.no_grad():
        output = float32(task.outputs(model, said))
    if not isinstance(output, dict) or ATTENTION not in output:
        return []
    found = []
    for row, (text, pieces) in enumerate(spoken):
        words = words_of(text, pieces)
        looks_TS = output[ATTENTION][row][: len(pieces)].cpu().numpy()
        of_T, of_S = np.asarray(words.of_piece, np.int64), cell_BS[row].cpu().numpy()
        weight_NM = np.zeros((len(words.spans), len(read[row])))
        for n in range(len(weight_NM)):
            by_place_S = looks_TS[of_T == n].mean(0)
            for m in range(len(read[row])):
                weight_NM[n, m] = by_place_S[of_S == m].sum()
        found.append(Alignment([text[a:b] for a, b in words.spans], list(read[row]), weight_NM))
    return found


def drawn(found: Sequence[Alignment]) -> Any:
    """The alignments one under another."""
    return stacked([grid(one) for one in found if one.words and one.read])


def grid(one: Alignment) -> Image.Image:
    """Words of the answer as rows, of the input as columns: the darker, the more the row looks there."""
    rows, columns = ([cut(word, LONGEST) for word in side[:MOST_WORDS]] for side in (one.words, one.read))
    wide = max(round(font_for(word).getlength(word)) for word in rows) + 2 * GAP
    tall = max(round(font_for(word).getlength(word)) for word in columns) + 2 * GAP
    page = Image.new("RGB", (wide + CELL * len(columns) + GAP, tall + CELL * len(rows) + GAP), PAPER)
    draw = ImageDraw.Draw(page)
    for m, word in enumerate(columns):
        label = Image.new("RGB", (tall - GAP, CELL), PAPER)
        ImageDraw.Draw(label).text((0, CELL // 2), word, INK, font_for(word), anchor="lm")
        page.paste(label.rotate(90, expand=True), (wide + m * CELL, 0))
    for n, word in enumerate(rows):
        draw.text((wide - GAP, tall + n * CELL + CELL // 2), word, INK, font_for(word), anchor="rm")
        for m in range(len(columns)):
            share = float(min(1.0, one.weight_NM[n, m]))
            shade = tuple(round(p * (1 - share) + c * share) for p, c in zip(PAPER, SHADE, strict=True))
            box = (wide + m * CELL, tall + n * CELL, wide + (m + 1) * CELL - 2, tall + (n + 1) * CELL - 2)
            draw.rectangle(box, shade, (222, 224, 228))
    return page


def font_for(word: str) -> Any:
    """DejaVu Sans, which comes with matplotlib and holds most alphabets; for a word of another the first font of this machine
    that has its characters. Pillow turns and joins what runs from right to left if it was built with Raqm, as its wheels are."""
    return ImageFont.truetype(str(_file_with(frozenset(c for c in word if c.isalnum()))), SIZE)


@lru_cache(maxsize=512)
def _file_with(letters: frozenset[str]) -> Path:
    import matplotlib
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    first = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    for path in dict.fromkeys([str(first), *sorted(entry.fname for entry in fontManager.ttflist)]):
        try:
            font = FT2Font(path)
        except (OSError, RuntimeError):
            continue
        if all(font.get_char_index(ord(letter)) for letter in letters):
            return Path(path)
    return first
