"""The verdicts that a report is made of: kept ones where they speak of these weights, else asked for now.

A report that is not quick asks again where the kept verdict was a quick one. Other settings of a kept verdict were
somebody's choice: it is used, and they are named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lamina.ask import ask, settings_from
from lamina.errors import LaminaError
from lamina.files import read_json
from lamina.report.evaluated import evaluated
from lamina.terminal import jsonable
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
    flags: str = ""
    """The settings it was asked with that are not the default ones, as flags."""
    when: str = ""
    """The day and minute of a kept one, where they are known."""
    failed: str | None = None
    """What went wrong, in one line."""
    left_out: str | None = None
    """Why it was not asked, with the time it would take; beside a kept quick verdict, why it could not be asked in full."""


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
        kept = kept_answer(run, verb) if source is None else None
        if kept is not None and (quick or "--quick" not in kept.flags.split()):
            answers[verb] = kept
        elif quick and clock() - began > QUICK_SECONDS:
            answers[verb] = Answer(verb, left_out=f"left out to be quick; {lasting(run, verb)}")
        else:
            say(f"report: {verb} ...")
            answers[verb] = asked(run, verb, source, quick, asking or {})
            if kept is not None and answers[verb].failed:  # a quick answer is more than none
                answers[verb] = replace(kept, left_out=answers[verb].failed)
    return answers


def kept_answer(run: Run, verb: str) -> Answer | None:
    """The verdict that the run keeps, with how and when it was made; None where none speaks of these weights."""
    kept = run.kept(verb)
    if kept is None:
        return None
    about = run.kept_about(verb)
    return Answer(verb, kept, True, flags_of(verb, about.get("settings")), minute(about.get("when")))


def flags_of(verb: str, settings: Any) -> str:
    """Those of the kept `settings` that are not the default ones, as flags: `--quick --examples 60 --no-curve`."""
    if verb == "evaluate" or not isinstance(settings, Mapping):
        return ""
    words = []
    for name, usual in jsonable(settings_from(verb, {})).items():
        value = settings.get(name, usual)
        flag = name.replace("_", "-")
        if value == usual or name == "out":
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag} {' '.join(map(str, value)) if isinstance(value, list) else value}")
    return " ".join(words)


def minute(when: Any) -> str:
    """A time as a page tells it; empty where it is none."""
    try:
        return f"{datetime.fromisoformat(when):%Y-%m-%d %H:%M %Z}".strip()
    except (TypeError, ValueError):
        return ""


def asked(run: Run, verb: str, source: Any, quick: bool, asking: Mapping[str, Any]) -> Answer:
    """The verb asked now."""
    try:
        if verb == "evaluate":
            return Answer(verb, evaluated(run, source, **asking))
        quickly = quick and "quick" in {f.name for f in fields(settings_from(verb, {}))}
        made = ask(verb, run, source, **({"quick": True} if quickly else {}), **asking)
        return Answer(verb, made, flags="--quick" if quickly else "")
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
