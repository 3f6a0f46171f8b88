"""One way of asking a run anything: settings from plain values, the verb's own function, the verdict kept in the run."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lamina.errors import LaminaError
from lamina.verdict import Verdict

if TYPE_CHECKING:
    from lamina.run import Run

ASKING = ("device", "precision", "batch_size")


def ask(verb: str, run: Run, source: Any = None, inputs: Sequence[Any] = (), **fields: Any) -> Verdict:
    """What `lamina VERB RUN` answers. `fields` are its flags, with underscores.

    source: a Source, a path, or None for the run's own data; a path is read as the run's own data were.
    Raises LaminaError for a setting that the verb does not have, or whose value makes no sense.
    """
    from lamina.data.source import Source

    settings = settings_from(verb, {name: value for name, value in fields.items() if name not in ASKING})
    if source is not None and not isinstance(source, Source):
        source = dataclasses.replace(run.source(), data=source)
    answer = getattr(importlib.import_module(f"lamina.{verb}.api"), verb)
    own = source is None and not inputs  # what is asked of other data speaks of those, and is not kept
    asked = run if own else copy.copy(run)
    if not own:
        asked.drawings = run.folder / "report" / "asked"
    began = time.monotonic()
    verdict = answer(asked, settings, source, inputs, **{name: fields[name] for name in ASKING if name in fields})
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
