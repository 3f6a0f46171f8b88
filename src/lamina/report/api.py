"""`lamina report RUN [RUN]`: one HTML page about a run, or two side by side, and whether it reaches what is required."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.ask import ASKING
from lamina.errors import LaminaError
from lamina.report.gather import Answer, gathered
from lamina.report.page import columns, page
from lamina.report.requirements import Judged, judged, parsed
from lamina.report.sections import TITLES, answered, not_to_use, origin, section
from lamina.report.settings import Settings
from lamina.run import Run
from lamina.verdict import Figure, Verdict

if TYPE_CHECKING:
    from lamina.ask import Asked


def report(asked: Asked[Settings]) -> Verdict:
    """Write the page and say where it is; `failed` lists the requirements that do not hold (of the first run).

    inputs: at most one more run's folder, to stand beside the first.
    Raises LaminaError for a requirement that names no figure, more than two runs, or a place that cannot be written.
    """
    run, settings, source, inputs = asked.run, asked.settings, asked.source, asked.inputs
    if len(inputs) > 1:
        raise LaminaError(f"report: expected one run or two; got {1 + len(inputs)}")
    runs = [run, *(one if isinstance(one, Run) else Run.load(one, run.info.get("task_file")) for one in inputs)]
    asking = {name: getattr(asked, name) for name in ASKING}
    answers = [gathered(each, source, settings.quick, asking) for each in runs]
    held = figures_of(answers[0])
    gate = judged([parsed(text) for text in settings.require], held, settings.require_confident)
    names = [each.folder.name for each in runs]
    compared = comparison(runs, source, asking) if len(runs) == 2 else ""
    sections = [verdict_line(gate, answers[0]), *([section("Which is better?", compared, "compare")] if compared else [])]
    about = [origin(each.info, figures_of(a).get("parameters", {}).get("value")) for each, a in zip(runs, answers, strict=True)]
    sections.append(section("What is it, and what made it?", columns(about, names), "origin"))
    for verb, title in TITLES.items():
        sections.append(section(title, columns([answered(each[verb]) for each in answers], names), verb))
    sections.append(section("Where should it not be used?", columns([not_to_use(each) for each in answers], names), "limits"))
    path = Path(settings.out) if settings.out else run.folder / "report" / "report.html"
    written(path, page(" and ".join(names), f"A report by Lamina on {run.info.get('task', 'a run')}", sections, len(runs) == 2))
    failed = [one.line for one in gate if not one.holds]
    return Verdict(
        "report",
        sentences=(*said(gate), f"The page: {path}"),
        figures=held,
        failed=tuple(failed),
        skipped={verb: a.failed or a.left_out or "" for verb, a in answers[0].items() if a.verdict is None},
        details={"page": str(path), "requirements": [one.line for one in gate]},
    )


def figures_of(answers: dict[str, Answer]) -> dict[str, Figure]:
    """The figures of all verdicts. What was evaluated first keeps its name where a later verb has one alike."""
    held: dict[str, Figure] = {}
    for answer in answers.values():
        for name, f in (answer.verdict.figures if answer.verdict else {}).items():
            held.setdefault(name, f)
    return held


def said(gate: list[Judged]) -> tuple[str, ...]:
    """What came of the requirements."""
    if not gate:
        return ()
    count = sum(one.holds for one in gate)
    return (f"{count} of {len(gate)} requirements hold.",)


def verdict_line(gate: list[Judged], answers: dict[str, Answer]) -> str:
    """The line at the top: requirements, or without any the first sentence of all."""
    if not gate:
        evaluated = answers["evaluate"].verdict
        line = evaluated.sentences[0] if evaluated and evaluated.sentences else "It could not be judged."
        return f"<section class=gate><p class=lead>{escape(line)}</p><p class=quiet>Nothing was required of it.</p></section>"
    failed = [one for one in gate if not one.holds]
    head = "It fails what was required." if failed else "It holds what was required."
    lines = "".join(f"<li class={'holds' if one.holds else 'fails'}>{escape(one.line)}</li>" for one in gate)
    return f"<section class='gate{' failed' if failed else ''}'><p class=lead>{head}</p><ul>{lines}</ul></section>"


def comparison(runs: list[Run], source: Any, asking: dict[str, Any]) -> str:
    """Whether two runs differ by more than chance, or why that cannot be said."""
    from lamina.compare import compare

    try:
        made = compare(runs, source, **asking)
        pair = made.pairs[0]
    except Exception as error:  # two runs may stand side by side without being comparable
        return f"<p class=warning>They could not be compared: {escape(str(error))}</p>"
    bounds = f"95% interval {pair.low:.4g} to {pair.high:.4g}, p = {pair.p_value:.3g}"
    told = f"Difference in {pair.metric}: {pair.difference:.4g} ({bounds})."
    alike = (
        "<p>They differ in the seed alone: which of them is better says nothing of their settings.</p>" if made.contenders else ""
    )
    return f"<p class=lead>{escape(pair.verdict)}</p><p>{escape(told)}</p>{alike}"


def written(path: Path, text: str) -> None:
    """Raises LaminaError where the page cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise LaminaError(f"--out: expected a place for the page; {path}: {error.strerror or error}") from error
