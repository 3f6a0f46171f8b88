"""Explanations of texts by words, the unit that people read: which token belongs to which, what each counts, how it is shaded.

Shapes: B texts, T tokens, M words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.errors import LaminaError
from lamina.explain.cells import pooled
from lamina.explain.sanity import rank_correlation
from lamina.explain.subject import cells_of_tokens
from lamina.modalities.words import Span, words_of
from lamina.task import Columns, Task

LONGEST = 1200
"""Characters of a text that are shown: of a longer one, what lies around its strongest words."""
AROUND = 60
"""Characters shown on either side of a strong word of a text that is cut."""
TOP, LEAST = 8, 2
"""Words told of each answer, and texts that one must stand in."""


def raw_texts(task: Task, columns: Columns) -> list[str]:
    """The raw text behind the first input."""
    return ["" if text is None else str(text) for text in columns[task.asks[0]]]


def cells_of_words(task: Task, columns: Columns, x_BT: Tensor) -> tuple[Tensor, list[list[Span]]] | None:
    """The word of each token (B, T), -1 where it is padding or stands for nothing in the text, and where the words of each
    text stand. None where the task cannot tell.

    Raises LaminaError where the pieces of a text are not as many as its tokens.
    """
    asked = {name: column for name, column in columns.items() if name in task.asks}
    told = task.pieces(asked)
    if told is None:
        return None
    cell_BT = torch.full_like(x_BT, -1)
    spans = []
    for row, (text, pieces) in enumerate(zip(raw_texts(task, columns), told, strict=True)):
        places = (x_BT[row] != 0).nonzero().flatten()
        if len(places) != len(pieces):
            raise LaminaError(
                f"{task.name}: expected `pieces` to tell of every token that is no padding ({len(places)}); got {len(pieces)}"
            )
        words = words_of(text, pieces)
        cell_BT[row, places] = torch.tensor(words.of_piece, dtype=x_BT.dtype, device=x_BT.device)
        spans.append(list(words.spans))
    return cell_BT, spans


def tokens_as_words(x_BT: Tensor) -> tuple[Tensor, list[list[str]]]:
    """Where nobody can tell what tokens stand for: every token by itself, named by its number."""
    return cells_of_tokens(x_BT), [[f"<{int(i)}>" for i in row if i] for row in x_BT.cpu()]


def of_words(map_BT: Tensor, cell_BT: Tensor) -> list[np.ndarray]:
    """What the words of each text count: the sum over their tokens."""
    summed_BM = pooled(map_BT, cell_BT, total=True).double().cpu().numpy()
    return [row[np.isfinite(row)] for row in summed_BM]


def alike(some: Tensor, others: Tensor, cell_BT: Tensor) -> Tensor:
    """Spearman's correlation of what words count in two maps (B, T): (B,)."""
    pairs = zip(of_words(some, cell_BT), of_words(others, cell_BT), strict=True)
    rows = [rank_correlation(torch.from_numpy(a)[None], torch.from_numpy(b)[None]) for a, b in pairs]
    return torch.cat(rows)


def shaded(text: str, spans: Sequence[Span], value_M: np.ndarray, about: str) -> dict[str, Any]:
    """A row of `Verdict.texts`: the text in order, in words and what lies between them, each word with its share of the
    strongest one (1 speaks most for what was said, -1 most against it), what lies between with None."""
    scale = float(np.abs(value_M).max()) if len(value_M) else 0.0
    pieces: list[list[Any]] = []
    end = 0
    for (start, stop), value in zip(spans, value_M.tolist(), strict=False):
        if start > end:
            pieces.append([text[end:start], None])
        pieces.append([text[start:stop], round(value / scale, 4) if scale else 0.0])
        end = stop
    if end < len(text):
        pieces.append([text[end:], None])
    return {"about": about, "scale": scale, "pieces": shortened(pieces)}


def shaded_tokens(names: Sequence[str], value_M: np.ndarray, about: str) -> dict[str, Any]:
    """The same where there are no words, only numbers of tokens."""
    text, spans = "", list[Span]()
    for name in names:
        spans.append((len(text), len(text) + len(name)))
        text += f"{name} "
    return shaded(text.rstrip(), spans, value_M, about)


def shortened(pieces: list[list[Any]]) -> list[list[Any]]:
    """The pieces around the strongest words where the whole would be too long, with an ellipsis for what is left out."""
    if sum(len(text) for text, _ in pieces) <= LONGEST:
        return pieces
    starts = np.concatenate([[0], np.cumsum([len(text) for text, _ in pieces])])
    order = sorted((i for i, (_, w) in enumerate(pieces) if w is not None), key=lambda i: -abs(pieces[i][1]))
    kept = np.zeros(len(pieces), bool)
    for i in order or [0]:
        near = (starts[1:] >= starts[i] - AROUND) & (starts[:-1] <= starts[i + 1] + AROUND)
        if sum(len(pieces[j][0]) for j in np.flatnonzero(kept | near)) > LONGEST and kept.any():
            break
        kept |= near
    made: list[list[Any]] = []
    for i, (text, weight) in enumerate(pieces):
        if kept[i]:
            made.append([text[: LONGEST + 1] + ("…" if len(text) > LONGEST + 1 else ""), weight])
        elif not made or made[-1][0] != " … ":
            made.append([" … ", None])
    return made


def strongest(answers: Sequence[str], texts: Sequence[Sequence[str]], values: Sequence[np.ndarray]) -> list[dict[str, Any]]:
    """The words that speak most for each answer on the whole, by their mean over the places where they stand.

    answers: what was said of each text; texts: its words. A word must stand in two texts of that answer.
    """
    held: dict[tuple[str, str], list[float]] = defaultdict(list)
    inside: dict[tuple[str, str], set[int]] = defaultdict(set)
    for row, (answer, words, value_M) in enumerate(zip(answers, texts, values, strict=True)):
        for word, value in zip(words, value_M.tolist(), strict=False):
            held[answer, word.casefold()].append(value)
            inside[answer, word.casefold()].add(row)
    rows = []
    for answer in sorted(set(answers)):
        found = [
            {"answer": answer, "word": word, "mean": float(np.mean(values)), "times": len(values)}
            for (whose, word), values in held.items()
            if whose == answer and len(inside[whose, word]) >= LEAST and any(c.isalnum() for c in word)
        ]
        rows += sorted(found, key=lambda one: -one["mean"])[:TOP]
    return rows
