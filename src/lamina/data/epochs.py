"""Where a stream of training batches stands: two numbers, from which it goes on to the bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Epochs:
    """The part of a `Stream` (task.py) that is alike in all: what a batch holds depends on (seed, epoch, position) alone."""

    safe = True
    epoch: int = 0
    position: int = 0

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def after_step(self) -> None:
        pass

    def figures(self) -> dict[str, float]:
        return {}
