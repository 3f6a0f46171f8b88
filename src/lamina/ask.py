"""One way of asking a run anything: settings from plain values, the verb's own function, the verdict kept in the run.

`lamina/VERB/api.py` holds a function of the verb's name that takes one `Asked` and answers with a Verdict. Checking the
settings, opening what is named as data, and the clock stand here, once.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from lamina.errors import LaminaError
from lamina.verdict import Verdict

if TYPE_CHECKING:
    from lamina.data.source import Data, Source
    from lamina.run import Run

ASKING = ("device", "precision", "batch_size")
S = TypeVar("S")
"""The dataclass of settings of a verb."""


@dataclass(frozen=True)
class Asked(Generic[S]):
    """What a verb is asked: the one argument of every function in `lamina/VERB/api.py`."""

    run: Run
    settings: S
    """Checked already."""
    source: Source | Data | None = None
    """Data to ask about; None: the run's own."""
    inputs: Sequence[Any] = ()
    """What is named after the run: single inputs, or other runs."""
    device: str = "auto"
    precision: str | None = None
    """None: as the run was trained."""
    batch_size: int | Literal["auto"] = "auto"

    def at_once(self, usual: int) -> int:
        """The examples of a batch: `usual`, where none were asked for."""
        return usual if self.batch_size == "auto" else self.batch_size


def ask(verb: str, run: Run, source: Any = None, inputs: Sequence[Any] = (), **fields: Any) -> Verdict:
    """What `lamina VERB RUN` answers. `fields` are its flags, with underscores.

    source: a Source, Data already read, a path, or None for the run's own data; a path is read as the run's own data were.
    Raises LaminaError for a setting that the verb does not have, or whose value makes no sense.
    """
    from lamina.data.source import Data, Source

    settings = settings_from(verb, {name: value for name, value in fields.items() if name not in ASKING})
    if source is not None and not isinstance(source, (Source, Data)):
        source = dataclasses.replace(run.source(), data=source)
    answer = getattr(importlib.import_module(f"lamina.{verb}.api"), verb)
    own = source is None and not inputs  # what is asked of other data speaks of those, and is not kept
    about = run if own else copy.copy(run)
    if not own:
        about.drawings = run.folder / "report" / "asked"
    asked = Asked(about, settings, source, inputs, **{name: fields[name] for name in ASKING if name in fields})
    began = time.monotonic()
    verdict = answer(asked)
    verdict = dataclasses.replace(verdict, seconds=time.monotonic() - began)
    if own:
        run.keep(verdict, settings)
    return verdict


def settings_from(verb: str, fields: Mapping[str, Any]) -> Any:
    """The checked settings of a verb."""
    from lamina.flags import closest

    module = importlib.import_module(f"lamina.{verb}.settings")
    known = [field.name for field in dataclasses.fields(module.Settings)]
    for name in fields:
        if name not in known:
            raise LaminaError(f"{verb}: there is no setting {name!r}{closest(name, known)}")
    settings = module.Settings(**fields)
    module.check(settings)
    return settings
