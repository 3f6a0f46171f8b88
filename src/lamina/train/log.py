"""What training tells: metrics.jsonl and TensorBoard for machines, a progress bar and plain sentences for people."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lamina.files import write_bytes


class Log:
    """Every number logged, in order, as one JSON object a line; and the same as TensorBoard scalars where asked.

    A resumed run cuts off the rows after its checkpoint, so that the file reads as one uninterrupted run.
    """

    def __init__(self, folder: Path, tensorboard: bool, from_step: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            self._cut(from_step)
        self.file: IO[str] = self.path.open("a", encoding="utf-8")
        self.board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=from_step or None)

    def _cut(self, from_step: int) -> None:
        kept = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= from_step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                break  # the last line of a killed run may be half written
        write_bytes(self.path, "".join(kept).encode())

    def row(self, step: int, part: str, **values: Any) -> None:
        """One row: `part` is train or valid."""
        finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}
        self.file.write(json.dumps({"step": step, "part": part, **finite}) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in finite.items():
                if isinstance(value, (int, float)):
                    self.board.add_scalar(f"{part}/{name}", value, step)

    def close(self) -> None:
        self.file.close()
        if self.board is not None:
            self.board.close()


class Voice:
    """Speaks on standard error: a bar with the time left on a terminal, a line an evaluation elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.bar: Progress | None = None
        self.task: Any = None
        self.last = time.monotonic()

    def say(self, sentence: str) -> None:
        """One sentence, kept above the bar."""
        self.console.print(sentence, markup=False)

    def start(self, steps: int, done: int) -> None:
        if self.console.is_terminal and not self.console.quiet:
            self.bar = Progress(
                TextColumn("training"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[figures]}"),
                console=self.console,
                refresh_per_second=4,
            )
            self.bar.start()
            self.task = self.bar.add_task("training", total=steps, completed=done, figures="")

    def move(self, step: int, steps: int, figures: str) -> None:
        """The live line: where training is, and its figures. Without a terminal, once every half a minute."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step, total=steps, figures=figures)
        elif time.monotonic() - self.last > 30:
            self.last = time.monotonic()
            self.say(f"step {step} of {steps}  {figures}")

    def stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None
