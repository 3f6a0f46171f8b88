"""What each verb of the command line takes: its words, its flags, its examples. Light: help imports this and no more."""

from __future__ import annotations

import dataclasses
import importlib
import textwrap
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from typing_extensions import Doc

from lamina.data.source import Source
from lamina.errors import LaminaError
from lamina.find import find_task, task_names
from lamina.flags import Verb, Word, flags_of
from lamina.train.options import Options
from lamina.train.recipe import Recipe


@dataclass(frozen=True)
class Common:
    """Flags that mean the same at every verb."""

    json: Annotated[bool, Doc("results as JSON on standard output; the last line is one object")] = False
    config: Annotated[str | None, Doc("a YAML or JSON file of flags; flags given here win over it")] = None
    print_config: Annotated[bool, Doc("print the YAML that would do the same again, and exit")] = False


@dataclass(frozen=True)
class Resume:
    """Going on with a run."""

    resume: Annotated[str | None, Doc("a run to go on with where it stopped; takes no flags but --data and --task")] = None


@dataclass(frozen=True)
class Asking:
    """How a run is asked."""

    device: Annotated[str, Doc("auto, cpu, cuda, cuda:1 or mps")] = "auto"
    precision: Annotated[Literal["auto", "float32", "bfloat16"] | None, Doc("(default: as the run was trained)")] = None
    batch_size: Annotated[int | Literal["auto"], Doc("examples a batch, or auto: large, halved while memory lacks")] = "auto"
    task: Annotated[str | None, Doc("the .py file of an application of one's own, which runs do not carry")] = None


@dataclass(frozen=True)
class Judging:
    """How figures and their intervals are made."""

    part: Annotated[
        Literal["train", "valid", "calibration", "test", "all"] | None,
        Doc("the part to judge on (default: test of the run's own data, all of other data)"),
    ] = None
    resamples: Annotated[int, Doc("draws behind the intervals")] = 1000
    confidence: Annotated[float, Doc("share of the draws that an interval holds")] = 0.95
    seed: Annotated[int, Doc("seed of the draws")] = 0


@dataclass(frozen=True)
class Out:
    """Where results are also written."""

    out: Annotated[str | None, Doc("also write the result to this .json file")] = None


@dataclass(frozen=True)
class Curves:
    """What is drawn beside the figures."""

    curves: Annotated[str | None, Doc("also draw the learning curves, with bands over seeds, to this .png or .svg file")] = None


@dataclass(frozen=True)
class AnswersOut:
    """What answers hold, and where they are written."""

    sets: Annotated[bool, Doc("add the set of labels, or the bounds, that `lamina stress` calibrated")] = False
    out: Annotated[str | None, Doc("write the answers to this .jsonl, .csv or .tsv file instead")] = None


COMMON = flags_of(Common, "common")
SOURCE = flags_of(Source, "data")
ASKING = flags_of(Asking, "run")
JUDGING = flags_of(Judging, "figures")
RUN = Word("RUN", "the folder of a run, as `lamina train` printed it")
ANSWERS_NOTE = "How answers are made. Each is optional; without it: as the run was trained with."
RECIPE_NOTE = "Each is optional; without it: as the task recommends for the data."


def train_verb(task: str | None) -> Verb:
    """The flags of `lamina train`, those of the task among them where one is named."""
    shown = task if task and not task.endswith(".py") else "image-classification"
    own = flags_of(find_task(task), "task") if task else ()
    flags = (
        *SOURCE,
        *own,
        *flags_of(Recipe, "recipe", hint=""),
        *flags_of(Options, "training"),
        *flags_of(Resume, "training"),
        *COMMON,
    )
    twice = next((f.word for f in own if sum(f.word == other.word for other in flags) > 1), None)
    if twice:
        raise LaminaError(f"{task}: the field {twice!r} has the name of a flag that every task has; rename it")
    about = "Train a model, judge it on examples set aside, and keep both in a folder."
    if not task:
        about += "\n`lamina train TASK --help` lists the flags of a task too. Tasks:\n"
        about += textwrap.fill(", ".join(task_names()), 78, initial_indent="  ", subsequent_indent="  ")
    return Verb(
        f"train {task}" if task else "train",
        about,
        (Word("TASK", "a name that `lamina tasks` lists, or a .py file holding a Task; --task TASK does too"),),
        flags,
        (
            f"lamina train {shown}    (on the demo data that comes with it)",
            f"lamina train {shown} --data DATA --epochs 5 --lr auto",
            f"lamina train {shown} --data DATA --minutes 10 --out runs/first",
            "lamina train --resume runs/first",
        ),
        {"recipe": RECIPE_NOTE},
    )


ANSWERED = ("predict", "evaluate")
"""The verbs that take the flags of a task's `answering` fields, for the run that they are asked about."""


def answered_verb(verb: Verb, task: type) -> Verb:
    """`verb` with the flags of how `task` makes its answers."""
    own = flags_of(task, "answers", hint="", marked="answering")
    return dataclasses.replace(verb, flags=(*verb.flags, *own), notes={**verb.notes, "answers": ANSWERS_NOTE})


VERBS: dict[str, Verb] = {
    "doctor": Verb(
        "doctor",
        "What this machine offers, what is missing, and how to get it.",
        (),
        COMMON,
        ("lamina doctor", "lamina doctor --json"),
    ),
    "scan": Verb(
        "scan",
        "What is wrong with data, before training on it. Exit status 1 where there are errors.",
        (Word("DATA", "a folder, a table or idx files", required=False),),
        (*SOURCE, *COMMON),
        ("lamina scan flowers/", "lamina scan people.csv --label income"),
    ),
    "tasks": Verb("tasks", "What can be trained.", (), COMMON, ("lamina tasks",)),
    "evaluate": Verb(
        "evaluate",
        "Metrics of a run with confidence intervals, on its own test part or on other data.",
        (RUN,),
        (*SOURCE, *ASKING, *JUDGING, *flags_of(Out, "figures"), *COMMON),
        ("lamina evaluate runs/first", "lamina evaluate runs/first --data flowers-test/ --json"),
    ),
    "predict": Verb(
        "predict",
        "Answers to inputs without labels. A bad input is reported and the others are answered; exit status 2 then.",
        (RUN, Word("INPUT", "files, folders, tables, or - for standard input", many=True)),
        (*ASKING, *flags_of(AnswersOut, "run"), *COMMON),
        (
            "lamina predict runs/first rose.jpg",
            "lamina predict runs/first pictures/ --json",
            "lamina predict runs/first - < rose.jpg",
        ),
    ),
    "compare": Verb(
        "compare",
        "Runs side by side on the same examples, and whether they differ by more than chance. Runs that differ in the seed alone "
        "count together.",
        (Word("RUN", "the folders of two runs or more", many=True),),
        (
            *SOURCE,
            *ASKING,
            *(dataclasses.replace(f, default=2000) if f.name == "resamples" else f for f in JUDGING),
            *flags_of(Out, "figures"),
            *flags_of(Curves, "figures"),
            *COMMON,
        ),
        (
            "lamina compare runs/first runs/second",
            "lamina compare runs/* --data flowers-test/",
            "lamina compare runs/seed0 runs/seed1 runs/seed2 --curves curves.png",
        ),
    ),
    "check": Verb(
        "check",
        "Does an application keep the contract? Exit status 1 where it does not.",
        (Word("TASK", "a .py file holding a Task, or a name that `lamina tasks` lists"),),
        (*SOURCE, *COMMON),
        ("lamina check my_task.py", "lamina check my_task.py --data DATA"),
    ),
}


@dataclass(frozen=True)
class Question:
    """A verb that asks a run something and is answered with a Verdict: `lamina/NAME/` holds settings.py and api.py."""

    about: str
    examples: tuple[str, ...]
    more: Word | None = None
    """What may be named after the run."""


QUESTIONS: dict[str, Question] = {
    "explain": Question(
        "What the model looked at when it answered, and whether that picture can be believed.",
        (
            "lamina explain runs/first",
            "lamina explain runs/first rose.jpg --out why.png",
            "lamina explain runs/first --method all --examples 500",
        ),
        Word("INPUT", "files, folders, tables, or - for standard input"),
    ),
    "inspect": Question(
        "What is inside a network: layers, dead units, gradients checked, and what each depth knows.",
        ("lamina inspect runs/first", "lamina inspect runs/first --quick --json"),
    ),
    "stress": Question(
        "Does it hold up: corruptions, attacks, calibration, unknown inputs, promises, costs, and the groups where it is worst.",
        (
            "lamina stress runs/first",
            "lamina stress runs/first --quick --unknown other-pictures/",
            "lamina stress runs/first --norm l2 --eps 127.5",
        ),
    ),
    "needs": Question(
        "Would more data help, and how much more; does it overfit; what is wrong with its data.",
        (
            "lamina needs runs/first",
            "lamina needs runs/first --target 0.95 --quick",
            "lamina needs runs/first --no-curve",
        ),
    ),
    "shrink": Question(
        "A smaller or faster run from a run, and what that cost on the same examples. Exit status 3 beyond --max-drop.",
        (
            "lamina shrink runs/first --method int8 --max-drop 0.5",
            "lamina shrink runs/first --method prune-channels --flops 0.5 --epochs 5",
            "lamina shrink runs/first --method distill --student width=0.5",
        ),
    ),
    "export": Question(
        "Write the model as a folder that answers without Lamina, and prove that it answers alike.",
        ("lamina export runs/first", "lamina export runs/first --format pt2 --out served/"),
    ),
    "bench": Question(
        "What a run costs, and its shrunk runs and exported folders beside it: time, memory, size, energy.",
        ("lamina bench runs/first", "lamina bench runs/first runs/first-int8 exported/"),
        Word("FOLDER", "more runs, or folders that `lamina export` made"),
    ),
    "report": Question(
        "One HTML page about a run, or two side by side. Exit status 3 where a requirement fails.",
        (
            "lamina report runs/first --quick",
            'lamina report runs/first --require "accuracy>=0.9" "latency_p99_ms<=20"',
            "lamina report runs/first runs/second",
        ),
        Word("OTHER", "a second run"),
    ),
}
"""In the order that a person asks them."""


def settings_of(name: str) -> Any:
    """The dataclass of settings of a question."""
    return importlib.import_module(f"lamina.{name}.settings").Settings


def verb_of(name: str) -> Verb:
    """What `lamina NAME` takes. Raises KeyError for a verb that there is not."""
    if name not in QUESTIONS:
        return VERBS[name]
    question = QUESTIONS[name]
    words = (RUN, dataclasses.replace(question.more, required=False, many=True)) if question.more else (RUN,)
    return Verb(name, question.about, words, (*flags_of(settings_of(name), name), *SOURCE, *ASKING, *COMMON), question.examples)
