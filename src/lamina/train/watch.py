"""Watching validation: which weights are best, whether the run overfits, and when to stop early."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

RISE = 0.02
"""Validation loss counts as risen when it stands this share above its least value: less is noise."""
EVIDENCE = 3
"""Evaluations in a row that must agree before overfitting is said: one is chance."""


@dataclass
class Watch:
    """One call of `see` an evaluation; its fields are its whole state, so that a resumed run watches on."""

    metric: str
    better: Literal["max", "min"]
    patience: int | None = None
    best: float | None = None
    best_loss: float = math.inf
    best_step: int = 0
    since_best: int = 0
    history: list[list[float]] = field(default_factory=list)
    """(step, train loss, validation loss) of every evaluation."""
    overfits_since: int | None = None

    def see(self, step: int, train_loss: float, valid: dict[str, float]) -> bool:
        """Take in one evaluation; True where it is the best so far. Equal figures are told apart by the loss."""
        loss = valid.get("loss", math.nan)
        value = valid.get(self.metric, loss)
        self.history.append([step, train_loss, loss])
        sign = 1 if self.better == "max" else -1
        improved = self.best is None or sign * value > sign * self.best or (value == self.best and loss < self.best_loss)
        if improved and math.isfinite(value):
            self.best, self.best_loss, self.best_step, self.since_best = value, loss, step, 0
            return True
        self.since_best += 1
        return False

    def exhausted(self) -> bool:
        """No improvement for as long as patience lasts."""
        return self.patience is not None and self.since_best >= self.patience

    def overfitting(self) -> str | None:
        """A sentence, the first time that training loss falls while validation loss rises, evaluation after evaluation."""
        if self.overfits_since is not None or len(self.history) <= EVIDENCE:
            return None
        losses = [row[2] for row in self.history]
        lowest = min(range(len(losses)), key=losses.__getitem__)
        after = self.history[lowest + 1 :]
        if len(after) < EVIDENCE:
            return None
        step, train_then, valid_then = self.history[lowest]
        risen = all(row[2] > valid_then * (1 + RISE) for row in after[-EVIDENCE:])
        fallen = all(row[1] < train_then for row in after[-EVIDENCE:])
        if not (risen and fallen):
            return None
        self.overfits_since = int(step)
        _, train_now, valid_now = self.history[-1]
        return (
            f"overfitting since step {int(step)}: validation loss rose from {valid_then:.4g} to {valid_now:.4g} "
            f"while training loss fell from {train_then:.4g} to {train_now:.4g}"
        )

    def state_dict(self) -> dict[str, Any]:
        state = asdict(self)
        state["best_loss"] = None if math.isinf(self.best_loss) else self.best_loss
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, math.inf if name == "best_loss" and value is None else value)
