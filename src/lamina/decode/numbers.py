"""Answers that are a number. Needs only numpy.

Legend: N examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class NumberAnswers:
    """From a model to answers: the output `key` (N, 1), in the units of the target."""

    key: str = "value"

    def answers(
        self, ask: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]], arrays: dict[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        """{"value": number} an example."""
        return [{"value": value} for value in ask(arrays)[self.key][:, 0].astype(np.float64).tolist()]
