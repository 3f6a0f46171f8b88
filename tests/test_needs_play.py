"""How much play an agent needed, read from the log of its training."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lamina.needs.about_play import about_play
from lamina.needs.answers import Answers


def told(folder: Path, judged: list[float], better: str = "max") -> Answers:
    """Of a training of 1,000 steps played in 100 optimizer steps, judged so often, evenly."""
    rows: list[dict[str, Any]] = []
    for step in range(10, 101, 10):
        rows.append({"step": step, "part": "train", "loss": 0.1, "timesteps": 10 * step, "return": judged[0]})
        if judged and step % (100 // len(judged)) == 0:
            rows.append({"step": step, "part": "valid", "return": judged[step * len(judged) // 100 - 1]})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = Answers()
    run: Any = SimpleNamespace(folder=folder, task=SimpleNamespace(headline=("return", better)))
    about_play(run, folder, answers)
    return answers


def test_play_is_counted_to_the_best_and_to_most_of_the_way(tmp_path: Path) -> None:
    answers = told(tmp_path, [0, 50, 96, 100, 99])
    figures = {name: figure["value"] for name, figure in answers.figures.items()}
    assert figures == {"played": 1000, "played_to_best": 800, "best_return": 100, "played_to_most": 600}
    assert "it played enough" in answers.sentences[-1] and answers.pictures["how it learned"].stat().st_size > 1000


def test_a_best_at_the_end_asks_for_more(tmp_path: Path) -> None:
    assert "more play may bring more" in told(tmp_path, [0, 10, 20, 30, 90]).sentences[-1]
    worse = told(tmp_path, [100, 80, 60, 40, 5], "min")
    assert worse.figures["best_return"]["value"] == 5 and "more play" in worse.sentences[-1]


def test_few_judgements_tell_little(tmp_path: Path) -> None:
    answers = told(tmp_path, [3.0, 9.0])
    assert "played_to_most" in answers.skipped and answers.figures["best_return"]["value"] == 9
    (tmp_path / "metrics.jsonl").unlink()
    empty = Answers()
    run: Any = SimpleNamespace(folder=tmp_path, task=SimpleNamespace(headline=("return", "max")))
    about_play(run, tmp_path, empty)
    assert "never judged" in empty.sentences[0] and not empty.figures
