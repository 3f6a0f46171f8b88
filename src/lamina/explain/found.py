"""What the parts of an explanation leave behind, for `words` to tell and `draw` to draw.

Shapes: B examples; `...` are the places of an input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from lamina.explain.alignments import Alignment
from lamina.explain.examples import Reference
from lamina.explain.faithfulness import Curves
from lamina.explain.settings import Method
from lamina.modalities.words import Span
from lamina.task import Batch, Columns


@dataclass
class Found:
    """Filled in part by part; what a part did not find stays empty."""

    names: list[str]
    part: str
    columns: Columns
    answers: list[dict[str, Any]]
    said: Batch
    cell_BT: Tensor | None = None
    """Of texts: the word of each token, -1 in none."""
    column: str = ""
    """The raw column that holds them."""
    words: list[list[str]] = field(default_factory=list)
    """The words of each text."""
    spans: list[list[Span]] | None = None
    """Where they stand in it; None where nobody can tell."""
    alignments: list[Alignment] = field(default_factory=list)
    """Where the words of the answers shown look, where the model tells."""
    methods: list[Method] = field(default_factory=list)
    maps: dict[Method, Tensor] = field(default_factory=dict)
    """(B, ...) on the CPU."""
    gaps: dict[str, np.ndarray] = field(default_factory=dict)
    """missing and change (B,), and steps (1,), of integrated gradients."""
    curves: dict[str, Curves] = field(default_factory=dict)
    """By method, and `random`."""
    sanity: list[dict[str, Any]] = field(default_factory=list)
    """One row a method and depth, with the correlation of each example."""
    neighbours: list[dict[str, Any]] = field(default_factory=list)
    flips: list[dict[str, Any]] = field(default_factory=list)
    importance: list[dict[str, Any]] = field(default_factory=list)
    spots: list[dict[str, Any]] = field(default_factory=list)
    reference: Reference | None = None
    warnings: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
