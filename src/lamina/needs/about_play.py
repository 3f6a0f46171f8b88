"""How much an agent had to play: its examples come from its own play, so that steps played are what other data are elsewhere.

Legend: E evaluations, R logged rows.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from lamina.drawing import new_figure, save
from lamina.needs.answers import Answers
from lamina.run import Run

PLAYED = "timesteps"
"""What a stream logs of how much was played (`Stream.figures`)."""
LEAST_EVALUATIONS = 4
SHARE = 0.95
LATE = 0.8
"""A best that comes after this share of the play says that more of it may help."""


def about_play(run: Run, folder: Path, answers: Answers) -> None:
    """Steps played until most of what was learned was learned, and whether the end brought more still."""
    metric, better = run.task.headline
    played_E, value_E, played_R, value_R = history(run.folder / "metrics.jsonl", metric)
    answers.skipped["learning_curve"] = "an agent's examples come from its own play: what counts is how long it played"
    if not len(value_E):
        answers.sentences.append("Its training was never judged, so nothing can be said of how much play it needs.")
        return
    answers.pictures["how it learned"] = draw(metric, played_E, value_E, played_R, value_R, folder / "play.svg")
    sign = 1 if better == "max" else -1
    best = int(np.argmax(sign * value_E))
    whole = float(max(played_E[-1], played_R[-1] if len(played_R) else 0))
    answers.figure("played", whole)
    answers.figure("played_to_best", float(played_E[best]))
    answers.figure(f"best_{metric}", float(value_E[best]))
    answers.sentences.append(
        f"Its best {metric} on validation, {value_E[best]:.4g}, came after {played_E[best]:,.0f} of {whole:,.0f} steps played."
    )
    if len(value_E) < LEAST_EVALUATIONS:
        answers.skipped["played_to_most"] = (
            f"the training was judged {len(value_E)} times; at least {LEAST_EVALUATIONS} tell when it learned (--evaluations)"
        )
        return
    start = float(value_R[0]) if len(value_R) else float(value_E[0])
    most = start + SHARE * (float(value_E[best]) - start)
    first = int(np.argmax(sign * value_E >= sign * most))
    answers.figure("played_to_most", float(played_E[first]))
    answers.sentences.append(
        f"{100 * SHARE:.0f}% of the way from {start:.4g}, where it began, was gone at {played_E[first]:,.0f} steps at the latest."
    )
    late = played_E[best] > LATE * whole and first > 0
    answers.sentences.append(
        "The best came near the end: more play may bring more." if late else "The end brought nothing more: it played enough."
    )


def history(path: Path, metric: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps played and the metric at every evaluation (E,), and of the training's own episodes at every logged row (R,)."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    train = [row for row in rows if row["part"] == "train"]
    step_R = np.array([row["step"] for row in train], float)
    played_R = np.array([row.get(PLAYED, row["step"]) for row in train], float)
    judged = [row for row in rows if row["part"] == "valid" and row.get(metric) is not None]
    step_E = np.array([row["step"] for row in judged], float)
    played_E = np.interp(step_E, step_R, played_R) if len(step_R) else step_E
    told = [(played, row[metric]) for played, row in zip(played_R, train, strict=True) if row.get(metric) is not None]
    own = np.array(told, float).reshape(-1, 2)
    return played_E, np.array([row[metric] for row in judged], float), own[:, 0], own[:, 1]


def draw(metric: str, played_E: np.ndarray, value_E: np.ndarray, played_R: np.ndarray, value_R: np.ndarray, path: Path) -> Path:
    picture, (axes,) = new_figure(7.0, 4.0)
    if len(value_R):
        axes.plot(played_R, value_R, label="while learning, the last 100 episodes")
    axes.plot(played_E, value_E, "o-", label="judged")
    axes.set_xlabel("steps played")
    axes.set_ylabel(metric)
    axes.legend()
    return save(picture, path)
