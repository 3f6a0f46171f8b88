"""The command line: finds the verb, parses its flags (`verbs.py`), calls the module of its name, prints what it says.

Standard output carries results, standard error everything else. With `--json` the last line on standard output is one
JSON object: the result, or {"error": ...}. Exit status: 0 done; 1 something was found wrong (`scan`, `check`) or the
machine failed; 2 a person's mistake; 3 a requirement does not hold (`report`, `shrink`); 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import sys
import typing
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamina.data.source import Source
from lamina.errors import LaminaError, MachineFault
from lamina.find import APPLICATION, find_task, task_names
from lamina.flags import (
    Given,
    HelpAsked,
    closest,
    flags_of,
    named,
    parse,
    print_config,
    print_help,
    require_words,
    task_among,
    word_among,
)
from lamina.terminal import print_facts, print_json, print_table, say, say_error
from lamina.train.options import Options, check_options, expect_place
from lamina.train.recipe import Recipe, check_recipe
from lamina.verbs import ANSWERED, ASKING, JUDGING, QUESTIONS, SOURCE, answered_verb, settings_of, train_verb, verb_of

if TYPE_CHECKING:
    from lamina.flags import Verb
    from lamina.run import Run
    from lamina.task import Task

BUG = "this is a defect in Lamina"


def doctor(given: Given) -> int:
    from lamina.doctor import doctor, print_diagnosis

    found = doctor()
    if given.get("json"):
        print_json(found)
    else:
        print_diagnosis(found)
    return 0


def scan(given: Given) -> int:
    from lamina.data.scan import scan

    if given.words and "data" in given.values:
        raise LaminaError("lamina scan: expected the data once; got it both as DATA and as --data")
    findings = scan(source_of(given, given.words[0] if given.words else given.get("data")))
    errors = sum(f.severity == "error" for f in findings)
    if given.get("json"):
        print_json({"findings": findings, "errors": errors})
    else:
        print_findings(findings)
    return 1 if errors else 0


def print_findings(findings: Sequence[Any], shown: int = 5) -> None:
    """Findings grouped by code: how many of each, and the first few."""
    order = {"error": 0, "warning": 1, "note": 2}
    groups: dict[tuple[str, str], list[Any]] = {}
    for finding in sorted(findings, key=lambda f: (order[f.severity], f.code)):
        groups.setdefault((finding.severity, finding.code), []).append(finding)
    if not findings:
        print("nothing found")
        return
    print_table(["severity", "finding", "count", "what to do"], [[*key, len(g), g[0].fix or ""] for key, g in groups.items()])
    for (_, code), group in groups.items():
        for finding in group[:shown]:
            where = ":".join(str(part) for part in (finding.file, finding.row) if part is not None)
            print(f"{code}: {where + ': ' if where else ''}{finding.reason}")
        if len(group) > shown:
            print(f"{code}: and {len(group) - shown} more (--json lists all)")


def tasks(given: Given) -> int:
    rows = []
    for name in task_names():
        kind = find_task(name)
        models: tuple[Any, ...] = next((typing.get_args(f.type) for f in flags_of(kind, "task") if f.word == "model"), ())
        metric, better = kind().headline  # of the defaults: it may depend on the data
        rows.append({
            "task": name, "about": kind.about, "models": [m for m in models if isinstance(m, str)] or ["its own"],
            "formats": list(kind.formats), "metric": metric, "better": better,
        })  # fmt: skip
    if given.get("json"):
        print_json({"tasks": rows})
    else:
        for row in rows:
            better = "higher" if row["better"] == "max" else "lower"
            print_facts(
                f"{row['task']}: {row['about']}",
                {
                    "data": "; ".join(row["formats"]),
                    "models": ", ".join(row["models"]),
                    "judged by": f"{row['metric']} ({better} is better)",
                },
            )
    return 0


def train(given: Given) -> int:
    check_recipe(dataclasses.replace(Recipe(), **given.of(flags_of(Recipe, ""))))  # before torch and the data, which take long
    check_options(dataclasses.replace(Options(), **given.of(flags_of(Options, ""))))
    from lamina.run import claimed
    from lamina.train.api import train

    resume = given.get("resume")
    if resume:
        extra = [name for name in given.values if name not in ("resume", "data", "json", "config", "print_config")]
        if extra:
            raise LaminaError(
                f"--resume: goes on with the run as it was, and takes no other flag; got --{extra[0].replace('_', '-')}"
            )
        folder = Path(resume)
        task = given.words[0] if given.words else ""
        run = interruptible(folder, task, lambda: train(task, given.get("data"), resume=resume))
    else:
        fields = {name: value for name, value in given.values.items() if name not in ("data", "json", "config", "print_config")}
        out = fields.pop("out", None)
        with contextlib.nullcontext(Path(out)) if out else claimed(find_task(given.words[0]).name) as folder:
            fields["out"] = str(folder)
            run = interruptible(folder, given.words[0], lambda: train(given.words[0], given.get("data"), **fields))
    metrics = run.info.get("metrics", {})
    if given.get("json"):
        print_json({"run": str(run.folder), "task": run.task.name, "part": run.info.get("evaluated_on"), "metrics": metrics})
    else:
        title = f"{run.folder}: {run.info.get('evaluated_on', 'test')} examples"
        print_table(
            ["metric", "value", "95% from", "to"], [[name, v["value"], v["low"], v["high"]] for name, v in metrics.items()], title
        )
        print(f"next: lamina predict {run.folder} INPUT{own_file(run.info.get('task_file'))}")
    return 0


def own_file(task: str | None) -> str:
    """The flag that names an application of one's own again; nothing for those that come with Lamina."""
    return f" --task {task}" if task and task.endswith(".py") else ""


def interruptible(folder: Path, task: str, call: Callable[[], Run]) -> Run:
    """Ctrl-C is told how to go on."""
    try:
        return call()
    except KeyboardInterrupt:
        how = (
            f"go on with: lamina train --resume {folder}{own_file(task)}"
            if (folder / "run.json").is_file()
            else "nothing was started"
        )
        raise KeyboardInterrupt(how) from None


def evaluate(given: Given) -> int:
    from lamina.evaluate import evaluate, fewer_resamples, print_evaluation

    check_out(given)
    run = opened(given, given.words[0])
    made = evaluate(run, source_of_run(run, given), **asking(given), **judging(given))
    result = {"run": str(run.folder), **made.as_json()}
    note = fewer_resamples(made, given.get("resamples"))
    if note:
        say(note)
    write_result(given, result)
    if given.get("json"):
        print_json(result)
    else:
        print_evaluation(made, str(run.folder))
    return 0


def predict(given: Given) -> int:
    from lamina.predict import check_answers_out, predict, print_answers, print_stream, streams, write_answers

    check_answers_out(given.get("out"))
    run = opened(given, given.words[0])
    if sys.stdout.isatty() and not given.get("out") and not given.get("json") and streams(run):
        print_stream(run, list(given.words[1:]), given.get("device"), given.get("precision"))
        return 0
    answers = predict(run, list(given.words[1:]), strict=False, sets=given.get("sets"), **asking(given))
    bad: list[str] = []
    count = 0

    def good() -> Any:
        nonlocal count
        for answer in answers:
            count += 1
            if count == 2 and bad:
                say_error(bad[0])
            if "error" in answer:
                source, error = answer["source"], answer["error"]
                bad.append(error if source in error else f"{source}: {error}")
                if count > 1:
                    say_error(bad[-1])
            else:
                yield answer

    if given.get("out"):
        written = write_answers(good(), Path(given.get("out")))
        say(f"{written} answers -> {given.get('out')}")
        if given.get("json"):
            print_json({"out": given.get("out"), "answers": written, "bad": len(bad)})
    elif given.get("json"):
        for answer in good():
            print_json(answer)
    else:
        print_answers(good())
    if bad:
        raise LaminaError(bad[0] if count == 1 else f"{len(bad)} of {count} inputs could not be answered")
    return 0


def compare(given: Given) -> int:
    from lamina.compare import compare, print_comparison

    check_out(given)
    runs = [opened(given, word) for word in given.words]
    made = compare(runs, source_of_run(runs[0], given), **asking(given), **judging(given), curves=given.get("curves"))
    write_result(given, made.as_json())
    if given.get("json"):
        print_json(made.as_json())
    else:
        print_comparison(made)
        if made.curves:
            print(f"the learning curves: {made.curves}")
    return 0


def check(given: Given) -> int:
    from lamina.check import check_task

    problems = check_task(find_task(given.words[0]), source_of(given, given.get("data")))
    if given.get("json"):
        print_json({"task": given.words[0], "problems": problems})
    else:
        for problem in problems:
            print(problem)
        print(f"{given.words[0]}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0


def question(given: Given) -> int:
    """A verb that asks a run, and is answered with a Verdict."""
    from lamina.ask import ask, settings_from
    from lamina.verdict import show

    name = given.verb.name
    fields = given.of(flags_of(settings_of(name), name))
    settings_from(name, fields)  # a mistake in them is told before torch and the data, which take long
    run = opened(given, given.words[0])
    made = ask(name, run, source_of_run(run, given), given.words[1:], **fields, **asking(given))
    if given.get("json"):
        print_json({"run": str(run.folder), **made.as_json()})
    else:
        show(made, f"{run.folder}: {name}")
    return made.exit_status


def source_of(given: Given, data: str | None) -> Source:
    """The data flags as a Source."""
    return Source(**{**given.of(SOURCE), "data": data})


def source_of_run(run: Run, given: Given) -> Source | None:
    """The run's own Source with what was given changed; None where nothing was.

    Raises LaminaError for a flag that would split the run's own data anew: what it was trained on would be tested on.
    """
    changes = given.of(SOURCE)
    anew = next((name for name in ("split_seed", "valid", "test", "calibration", "group", "time") if name in changes), None)
    if anew and "data" not in changes:
        flag = anew.replace("_", "-")
        raise LaminaError(f"--{flag}: goes with --data; the run's own data are split as they were when it was trained")
    return dataclasses.replace(run.source(), **changes) if changes else None


def opened(given: Given, folder: str) -> Run:
    from lamina.run import Run

    run = Run.load(folder, given.get("task"))
    changed = {
        flag.name: given.values[flag.name] for flag in given.verb.flags if flag.group == "answers" and flag.name in given.values
    }
    return run.answering(**changed) if changed else run


def asking(given: Given) -> dict[str, Any]:
    return {flag.name: given.get(flag.name) for flag in ASKING if flag.name != "task"}


def judging(given: Given) -> dict[str, Any]:
    return {flag.name: given.get(flag.name) for flag in JUDGING}


def check_out(given: Given) -> None:
    """Raises LaminaError where the result cannot become the file of `--out`: told before the work, which takes long."""
    if given.get("out"):
        if not given.get("out").endswith(".json"):
            raise LaminaError(f"--out: expected a file that ends in .json; got {given.get('out')!r}")
        expect_place(Path(given.get("out")))


def write_result(given: Given, result: Any) -> None:
    """The result as the file of `--out`, where that is given."""
    if given.get("out"):
        from lamina.files import write_json
        from lamina.terminal import jsonable

        write_json(Path(given.get("out")), jsonable(result))


HANDLERS: dict[str, Callable[[Given], int]] = {
    "doctor": doctor, "scan": scan, "tasks": tasks, "train": train,
    "evaluate": evaluate, "predict": predict, "compare": compare, "check": check,
    **dict.fromkeys(QUESTIONS, question),
}  # fmt: skip

HELP = """usage: lamina VERB [FLAGS]        (lamina VERB --help lists its flags)

From data to a deep-learning model that has answered for itself.

  lamina doctor                         what this machine offers and lacks
  lamina scan     flowers/              what is wrong with the data
  lamina tasks                          what can be trained
  lamina train    TASK --data flowers/  trains, judges, keeps both in a folder
  lamina evaluate RUN                   metrics with confidence intervals
  lamina predict  RUN rose.jpg          a label and its probability
  lamina compare  RUN RUN               is one better, or is it chance
  lamina explain  RUN rose.jpg          what it looked at
  lamina inspect  RUN                   what is inside, and whether it works
  lamina stress   RUN                   does it hold up
  lamina needs    RUN                   would more data help
  lamina shrink   RUN --method int8     smaller and faster, and what that costs
  lamina export   RUN                   a folder that answers without Lamina
  lamina bench    RUN                   time, memory, size, energy
  lamina report   RUN                   all of it on one page
  lamina check    my_task.py            does an application keep the contract

To begin: lamina train image-classification    (on demo data, in about a minute)
The same everywhere: --json --config FILE --print-config --device --precision
  --batch-size --seed --out. LAMINA_DEBUG=1 shows tracebacks; --version."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status; never raises for a person's mistake."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name need not be text, nor a terminal speak UTF-8
            stream.reconfigure(errors="backslashreplace")
    try:
        status = answered(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt as stop:
        return failed(words, f"interrupted{f'; {stop}' if str(stop) else ''}", 130, stop)
    except (LaminaError, MachineFault) as error:
        return failed(words, named(str(error), words), error.exit_status, error)
    except Exception as error:
        told = f"{at_fault(error)}: {type(error).__name__}: {error} (LAMINA_DEBUG=1 shows the traceback)"
        return failed(words, told, 1, error)


def at_fault(error: BaseException) -> str:
    """The line of the application of one's own that an error came through, or else that Lamina is to blame."""
    import traceback

    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_globals.get("__name__", "").startswith(APPLICATION):
            return f"{frame.f_code.co_filename}:{line}"
    return BUG


def failed(words: Sequence[str], message: str, status: int, error: BaseException) -> int:
    """Say what went wrong, once for people and once for machines."""
    if os.environ.get("LAMINA_DEBUG") == "1":
        import traceback

        traceback.print_exception(error)
    with contextlib.suppress(BrokenPipeError):
        say_error(message)
        if "--json" in words:
            print_json({"error": message})
    return status


def with_task_first(arguments: list[str]) -> list[str]:
    """`--task TASK` is TASK: the other verbs, which open runs, name an application so, and so do configuration files."""
    for at, token in enumerate(arguments):
        if token.startswith("--task="):
            return [token.removeprefix("--task="), *arguments[:at], *arguments[at + 1 :]]
        if token == "--task" and at + 1 < len(arguments):
            return [arguments[at + 1], *arguments[:at], *arguments[at + 2 :]]
    return arguments


def task_of_run(arguments: list[str], verb: Verb) -> type[Task] | None:
    """The application of the run that is asked about, found before its flags are known; None where no run can be opened."""
    import json

    folder = word_among(arguments, verb)
    try:
        info = json.loads((Path(folder or "") / "run.json").read_text(encoding="utf-8"))
        file = next((b for a, b in pairwise([*arguments, ""]) if a == "--task"), None)
        file = next((a.removeprefix("--task=") for a in arguments if a.startswith("--task=")), file)
        return None if info.get("task_file") and not file else find_task(file or info["task"])
    except (OSError, ValueError, KeyError, AttributeError, LaminaError):
        return None  # whoever opens the run says what is wrong with it


def answered(words: list[str]) -> int:
    """Find the verb, parse its flags, and do it."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if words[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"lamina {version('lamina')}")
        return 0
    name, rest = words[0], words[1:]
    if name not in HANDLERS:
        raise LaminaError(f"lamina: there is no verb {name!r}{closest(name, HANDLERS)}; lamina --help lists the verbs")
    if name == "train":
        rest = with_task_first(rest)
    verb = train_verb(task_among(rest, train_verb(None))) if name == "train" else verb_of(name)
    if name in ANSWERED and (kind := task_of_run(rest, verb)):
        verb = answered_verb(verb, kind)
    try:
        given = parse(verb, rest)
    except HelpAsked:
        print_help(verb if " " not in verb.name else dataclasses.replace(verb, words=()))
        return 0
    if given.get("print_config"):
        print_config(given)
        return 0
    if not given.values.get("resume"):
        require_words(given)
    return HANDLERS[name](given)
