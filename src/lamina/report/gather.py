"""The verdicts that a report is made of: kept ones where they speak of these weights, else asked for now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lamina.ask import ask, settings_from
from lamina.errors import LaminaError
from lamina.files import read_json
from lamina.report.evaluated import evaluated
from lamina.verdict import Verdict

if TYPE_CHECKING:
    from lamina.run import Run

VERBS = ("evaluate", "bench", "inspect", "explain", "stress", "needs")
"""In the order that they are asked: the dearest last, so that little time leaves out least."""
QUICK_SECONDS = 40.0
"""After which a quick report begins no further verb."""


@dataclass(frozen=True)
class Answer:
    """What came of one verb: a verdict, or why there is none."""

    verb: str
    verdict: Verdict | None = None
    kept: bool = False
    failed: str | None = None
    """What went wrong, in one line."""
    left_out: str | None = None
    """Why it was not asked, with the time it would take."""


def gathered(
    run: Run,
    source: Any = None,
    quick: bool = False,
    asking: Mapping[str, Any] | None = None,
    verbs: tuple[str, ...] = VERBS,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Answer]:
    """An answer of each verb. A verb that fails never takes the others with it."""
    from lamina.terminal import say

    began = clock()
    answers: dict[str, Answer] = {}
    for verb in verbs:
        kept = run.kept(verb) if source is None else None
        if kept is not None:
            answers[verb] = Answer(verb, kept, kept=True)
        elif quick and clock() - began > QUICK_SECONDS:
            answers[verb] = Answer(verb, left_out=f"left out to be quick; {lasting(run, verb)}")
        else:
            say(f"report: {verb} ...")
            answers[verb] = asked(run, verb, source, quick, asking or {})
    return answers


def asked(run: Run, verb: str, source: Any, quick: bool, asking: Mapping[str, Any]) -> Answer:
    """The verb asked now."""
    try:
        if verb == "evaluate":
            return Answer(verb, evaluated(run, source, **asking))
        known = {f.name for f in fields(settings_from(verb, {}))}
        return Answer(verb, ask(verb, run, source, **({"quick": True} if quick and "quick" in known else {}), **asking))
    except LaminaError as error:
        return Answer(verb, failed=str(error))
    except Exception as error:  # whatever else goes wrong in one question must not cost the answers of the others
        return Answer(verb, failed=f"{type(error).__name__}: {error}")


def lasting(run: Run, verb: str) -> str:
    """How long a verb would take, where a verdict of other weights was kept."""
    try:
        seconds = float(read_json(run.folder / "report" / f"{verb}.json")["seconds"])
        return f"it took {duration(seconds)} the last time"
    except (OSError, ValueError, KeyError, TypeError):
        return f"it takes some minutes: lamina {verb} {run.folder}"


def duration(seconds: float) -> str:
    """In words."""
    return (
        f"{seconds:.1f} seconds" if seconds < 10 else f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"
    )
