"""`needs`: does it overfit, would more data help, what is wrong with the data. Asks each question, and orders the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina.data.columns import length
from lamina.errors import LaminaError

if TYPE_CHECKING:
    from lamina.ask import Asked
    from lamina.data.source import Data, Source
    from lamina.needs.settings import Settings
    from lamina.run import Run
    from lamina.task import Columns
    from lamina.verdict import Verdict


def needs(asked: Asked[Settings]) -> Verdict:
    """What the run needs: see docs/verbs/needs.md for every figure.

    `source` None is the run's own data; arrays that a run was trained on in memory are given again. Trainings for the curve are
    kept in RUN/report/needs/curve.jsonl as they end: asked again, `needs` goes on where it was stopped.
    Raises LaminaError for named inputs, and data without training examples.
    """
    from lamina.needs.about_curve import about_curve
    from lamina.needs.about_data import about_duplicates, about_labels, about_leaks, about_memorization
    from lamina.needs.about_fit import about_fit
    from lamina.needs.answers import Answers
    from lamina.needs.asking import classes_of
    from lamina.needs.curve import measure
    from lamina.verdict import Verdict

    run, settings, device, precision = asked.run, asked.settings, asked.device, asked.precision
    if asked.inputs:
        raise LaminaError("needs: expected no single inputs: it asks about the data of a run; name other data with --data")
    if run.task.acts:
        return of_play(run)
    data = data_of(run, asked.source)
    judged, part = judged_part(data, settings.part)
    forward = run.forward(device, precision)
    folder = run.pictures("needs")
    answers = Answers()
    if part != settings.part:
        answers.warnings.append(f"there are no examples of {settings.part}; {part} stands in, on which the weights were chosen")
    classes_N = classes_of(run.task, data.train)
    curve = None
    if run.task.coupled:
        answers.skipped["learning_curve"] = (
            "a row's loss depends on the other rows: errors of smaller sets say nothing of larger ones"
        )
    elif not settings.curve:
        answers.skipped["learning_curve"] = (
            f"left out, as asked (--no-curve); it would take {time_told(run, data, classes_N, settings)}"
        )
    else:
        curve = measure(run, data, judged, classes_N, settings, folder, device, precision)
        about_curve(run.task, curve, settings, length(judged), folder, answers)
    about_fit(run, forward, data.train, judged, settings, folder, answers)
    about_leaks(run, forward, data.train, judged, part, settings, answers)
    about_duplicates(run.task, data.train, classes_N, settings, answers)
    about_labels(run, forward, data, curve, settings, folder, device, precision, answers)
    about_memorization(run.task, data.train, classes_N, curve, settings, answers)
    return Verdict(
        verb="needs",
        sentences=tuple(answers.sentences),
        figures=answers.figures,
        tables=answers.tables,
        pictures=answers.pictures,
        warnings=tuple(answers.warnings),
        skipped=answers.skipped,
        details={"part": part, **answers.details},
    )


def of_play(run: Run) -> Verdict:
    """What a run needs whose examples come from its own play."""
    from lamina.needs.about_play import about_play
    from lamina.needs.answers import Answers
    from lamina.verdict import Verdict

    answers = Answers()
    about_play(run, run.pictures("needs"), answers)
    return Verdict("needs", tuple(answers.sentences), answers.figures, pictures=answers.pictures, skipped=answers.skipped)


def data_of(run: Run, source: Source | Data | None) -> Data:
    """All parts. Raises LaminaError where nothing was trained on."""
    from lamina.data.source import Data

    if source is None:
        data = run.data()
    elif isinstance(source, Data):
        data = source
    else:
        data = run.task.read(source)
    if not length(data.train):
        raise LaminaError("needs: expected examples to train on; the data has none")
    return data


def judged_part(data: Data, wanted: str) -> tuple[Columns, str]:
    """The examples to judge on and their part: the next that holds any where `wanted` holds none."""
    parts = data.parts()
    name = next((p for p in (wanted, "test", "valid", "calibration") if length(parts[p])), None)
    if name is None:
        raise LaminaError("needs: expected examples to judge on (test, valid or calibration); the data has none")
    return parts[name], name


def time_told(run: Run, data: Data, classes_N: Any, settings: Settings) -> str:
    """How long the learning curve would take, in words."""
    from lamina.needs.curve import seconds_for, told, wanted

    plan = [place for place in wanted(length(data.train), classes_N, settings) if place != (length(data.train), 0)]
    return f"about {told(sum(seconds_for(run, data, plan)))}"
