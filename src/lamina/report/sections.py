"""The sections of a page, each made from verdicts alone."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from lamina.report import parts
from lamina.report.gather import Answer, duration

TITLES = {
    "evaluate": "How good is it?",
    "needs": "Does it overfit, and would more data help?",
    "explain": "What does it look at?",
    "inspect": "What is inside?",
    "stress": "Does it hold up?",
    "bench": "What does it cost?",
}
WEAK = ("slice", "unknown", "corruption", "attack", "leak", "label_error")
"""What names of figures speak of where a model should not be used."""


def section(title: str, inside: str, name: str) -> str:
    """One section with its heading."""
    return f"<section id='{name}'><h2>{escape(title)}</h2>{inside}</section>"


def answered(answer: Answer) -> str:
    """What one verb said, or why it said nothing."""
    if answer.failed:
        return f"<p class=warning>This could not be answered: {escape(answer.failed)}</p>"
    verdict = answer.verdict
    if verdict is None:
        return f"<p class=quiet>{escape(answer.left_out or 'not asked')}</p>"
    texts = "".join(parts.shaded(title, rows) for title, rows in verdict.texts.items())
    drawn = {title: path for title, path in verdict.pictures.items() if title not in verdict.texts}
    pictures = "".join(parts.picture(title, path) for title, path in drawn.items())
    tables = "".join(f"<h3>{escape(title)}</h3>{parts.table(rows)}" for title, rows in verdict.tables.items() if rows)
    skipped = "".join(f"<li><b>{escape(what)}</b>: {escape(why)}</li>" for what, why in verdict.skipped.items())
    day = f" on {answer.when}" if answer.when else ""
    when = f"answered before{day}, in" if answer.kept else "answered in"
    how = f"Asked with {answer.flags}{day}." if answer.flags else ""
    how += f" Asked again now, it could not be answered: {answer.left_out}" if answer.left_out else ""
    return (
        (f"<p class=quiet>{escape(how)}</p>" if how else "")
        + parts.paragraphs(verdict.sentences)
        + parts.warnings(verdict.warnings)
        + texts
        + f"<div class=pictures>{pictures}</div>"
        + parts.details(
            f"The numbers behind it ({len(verdict.figures)} figures)", parts.figures(verdict.figures), answer.verb == "evaluate"
        )
        + parts.details("Tables", tables, answer.verb == "evaluate")
        + parts.details("What was left out", f"<ul>{skipped}</ul>" if skipped else "")
        + f"<p class=quiet>{escape(f'{when} {duration(verdict.seconds)}')}</p>"
    )


def origin(info: Mapping[str, Any], parameters: float | None) -> str:
    """What the run is and what data made it, from run.json. Anything may be missing."""
    data, source, versions = (info.get(name) or {} for name in ("data", "source", "versions"))
    counts = data.get("counts") or data.get("parts") or {}
    facts = {
        "what it does": info.get("task"),
        "made from": source.get("data") or "the demo data that come with Lamina",
        "examples": ", ".join(f"{name} {parts.text(n)}" for name, n in counts.items()) if isinstance(counts, Mapping) else None,
        "fingerprint of the data": data.get("fingerprint"),
        "parameters": None if parameters is None else f"{parameters:,.0f}",
        "seed": info.get("seed"),
        "status": info.get("status"),
        "made with": ", ".join(f"{name} {versions[name]}" for name in ("lamina", "torch", "python") if name in versions),
    }
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td>{escape(str(v))}</td></tr>" for name, v in facts.items() if v not in (None, "")
    )
    chosen = info.get("hyperparameters")
    settings = [{"setting": k, "value": str(v)} for k, v in chosen.items()] if isinstance(chosen, Mapping) else []
    return f"<table class=facts>{rows}</table>" + parts.details("Every setting", parts.table(settings))


def not_to_use(answers: Mapping[str, Answer]) -> str:
    """Warnings of all verbs, the figures that speak of weak places, and what nobody has looked at."""
    lines = []
    for verb, answer in answers.items():
        if answer.verdict is not None:
            lines += [f"{escape(line)} <span class=quiet>({escape(verb)})</span>" for line in answer.verdict.warnings]
    weak = {
        name: f
        for answer in answers.values()
        if answer.verdict is not None
        for name, f in answer.verdict.figures.items()
        if any(word in name for word in WEAK)
    }
    unasked = [TITLES[verb] for verb, answer in answers.items() if answer.verdict is None]
    said = "".join(f"<li>{line}</li>" for line in lines)
    unknown = "".join(f"<li>Nobody has answered: {escape(title)} Do not rely on it there.</li>" for title in unasked)
    items = (
        f"<ul>{said}{unknown}</ul>"
        if said or unknown
        else "<p>Nothing was found that speaks against using it on data like its own.</p>"
    )
    other = "<p>On inputs unlike the data that made it, what is said here does not hold.</p>"
    return items + other + parts.details("Figures of its weak places", parts.figures(weak))
