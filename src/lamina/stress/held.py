"""What the parts of `stress` that only look at answers share: the run, and what it said of examples kept from training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.answer import tempered
from lamina.data.columns import length, take
from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.evaluate import examples_of
from lamina.stress.said import Said, ask
from lamina.task import Columns, Forward

if TYPE_CHECKING:
    from lamina.run import Run
    from lamina.stress.settings import Settings

LEAST = 20
"""Examples below which nothing is fitted."""


@dataclass(frozen=True)
class Held:
    """A run, what it says of calibration and of test examples at a temperature, and where training examples are."""

    run: Run
    forward: Forward
    """At `temperature`."""
    temperature: float
    test: Said
    part: str
    """Where the test examples come from."""
    fitting: Said | None
    """Examples that calibration, cuts and promises are fitted to; None where there are fewer than 20."""
    fitting_part: str
    train: Columns
    warnings: tuple[str, ...]
    batch_size: int

    def at(self, temperature: float) -> Held:
        """The same at another temperature."""
        ratio = temperature / self.temperature
        return replace(
            self,
            forward=tempered(self.forward, ratio),
            temperature=temperature,
            test=self.test.at(ratio),
            fitting=None if self.fitting is None else self.fitting.at(ratio),
        )


def hold(run: Run, source: Any, settings: Settings, forward: Forward, batch_size: int) -> Held:
    """Ask `forward`, which is not tempered, about at most `settings.examples` test and calibration examples.

    With other data, only the test examples are from there: what is fitted, is fitted to the run's own.
    """
    warnings: list[str] = []
    read = given(run, source)
    own = read.fingerprint != "" and read.fingerprint == run.info["data"]["fingerprint"]
    examples, part, _ = examples_of(run, read, settings.part if own or settings.part else "all")
    mine = read
    if not own:
        try:
            mine = run.data()
        except LaminaError as error:
            warnings.append(f"fitted to the data given, for the run's own cannot be read ({error})")
    fitting, fitting_part = mine.calibration, "calibration"
    if length(fitting) < LEAST:
        fitting, fitting_part = mine.valid, "valid"
        if length(fitting) >= LEAST:
            warnings.append("the data has no calibration part: fitted to the validation part, on which the model was chosen")
    if part == fitting_part:
        warnings.append(f"judged on the {part} part, to which it is fitted too: all looks better than it is")
    some = sampled(examples, settings.examples, settings.seed)
    said = ask(run.task, forward, some, batch_size, what="answering")
    enough = length(fitting) >= LEAST
    fitted = ask(run.task, forward, sampled(fitting, settings.examples, settings.seed), batch_size) if enough else None
    return Held(run, forward, 1.0, said, part, fitted, fitting_part, mine.train, tuple(warnings), batch_size)


def given(run: Run, source: Any) -> Data:
    """The data named, or the run's own."""
    if source is None:
        return run.data()
    if isinstance(source, Data):
        return source
    from lamina.data.source import Source

    return run.task.read(source if isinstance(source, Source) else replace(run.source(), data=source))


def sampled(columns: Columns, most: int, seed: int) -> Columns:
    """At most `most` examples at random, in their order."""
    count = length(columns)
    if count <= most:
        return columns
    return take(columns, np.sort(np.random.default_rng(seed).choice(count, most, replace=False)))
