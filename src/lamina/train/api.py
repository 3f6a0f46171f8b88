"""`train`: from arguments to a finished run. Decides everything once, writes it down, then lets the loop learn."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from lamina.data.columns import length
from lamina.data.source import Data, Source
from lamina.errors import LaminaError
from lamina.evaluate import evaluate
from lamina.find import find_task
from lamina.run import Run, claimed, forward_of, load_tensors, named_tensors
from lamina.surgery import apply, baked
from lamina.task import Forward, Task
from lamina.terminal import figure
from lamina.train import checkpoint, finder
from lamina.train.adversary import Adversary
from lamina.train.average import Average
from lamina.train.budget import Budget, Deadline
from lamina.train.log import Log, Voice
from lamina.train.loop import Callbacks, Learner, check_model, fit, to_layout
from lamina.train.optimizers import build
from lamina.train.options import Options, check_options, expect_place
from lamina.train.precision import default_threads, pick_device, pick_precision, tune_allocator, undisturbed
from lamina.train.recipe import Recipe, check_recipe
from lamina.train.schedules import Plan
from lamina.train.teacher import teacher_of
from lamina.train.watch import Watch

START = "start.safetensors"
"""Weights in a run's folder to start from, in place of the task's own."""
COMPILE_PAYS_SECONDS = 600.0
"""Training shorter than this does not earn back the compile time on a GPU."""


def train(task: str | Path | Task, data: Any = None, *, resume: str | Path | None = None, **fields: Any) -> Run:
    """Train, evaluate on the test part, and save. Returns the finished run.

    `task` is a name (`lamina tasks`), a Python file with a Task, or a Task. `data` is whatever the task reads; without
    it, the bundled demo data. `fields` are the fields of `Source`, of the task, of `Recipe` and of `Options`.
    `resume` goes on with a run that was stopped; it takes no other argument but the data, where those were in memory.
    Then `task` matters only where it is a file: a run never says by itself which code to import.

    Raises LaminaError for a mistake in the arguments or the data, MachineFault where the numbers or the machine fail,
    KeyboardInterrupt after Ctrl-C; the run stays resumable.
    """
    started = time.monotonic()
    tune_allocator()
    if resume is not None:
        return resumed(Path(resume), task if str(task).endswith(".py") else None, data, started)  # type: ignore[arg-type]
    kind = type(task) if isinstance(task, Task) else find_task(task)
    given = assigned(kind, fields)
    asked: Task = dataclasses.replace(task, **given["task"]) if isinstance(task, Task) else kind(**given["task"])
    options = Options(**given["options"])
    check_options(options)
    pick_device(options.device)  # before anything is written
    start = Run.load(options.init, task_file=file_of(kind)) if options.init else None
    source = dataclasses.replace(data, **given["source"]) if isinstance(data, Source) else Source(data=data, **given["source"])
    arguments = {name: given[name] for name in ("task", "recipe", "options")}
    arguments["source"] = described(source)
    if options.init:
        arguments["options"] = {**arguments["options"], "init": str(Path(options.init).resolve())}
    with claimed(kind.name) if not options.out else contextlib.nullcontext(Path(options.out)) as folder:
        if (folder / "run.json").exists():
            raise LaminaError(f"--out: {folder} holds a run already; choose another folder, or go on with --resume {folder}")
        if folder.is_file():
            raise LaminaError(f"--out: expected a folder; {folder} is a file")
        expect_place(folder / "run.json")
        voice = Voice(options.quiet)
        read = asked.read(source)
        prepared = asked.prepare(read)
        recipe = dataclasses.replace(prepared.recipe(read), **alternatives(given["recipe"]))
        check_recipe(recipe)
        surgeries = start.info.get("surgeries", []) if start else []
        if start:
            with torch.device("meta"):
                skeleton = apply(prepared.model(), surgeries)
            fitting(skeleton, start)  # before anything is written
        run = Run.create(folder, beginning(prepared, file_of(kind), arguments, read, surgeries), prepared)
        describe_data(voice, run, read)
        return learned(run, read, recipe, options, voice, started, None)


def beginning(
    task: Task, task_file: str | None, arguments: dict[str, Any], data: Data, surgeries: list[dict[str, Any]]
) -> dict[str, Any]:
    """What run.json says of a run before its first step."""
    return {
        "task": task.name,
        "task_file": task_file,
        "status": "preparing",
        "arguments": arguments,
        "hyperparameters": task.hyperparameters(),
        "source": arguments["source"],
        "seed": arguments["options"].get("seed", Options().seed),
        "data": {"fingerprint": data.fingerprint, "counts": {p: length(c) for p, c in data.parts().items()}, **data.about},
        "findings": [dataclasses.asdict(f) for f in data.findings[:1000]],
        **({"surgeries": surgeries} if surgeries else {}),
    }


def resumed(folder: Path, task_file: str | Path | None, data: Any, started: float) -> Run:
    """Go on with the run in `folder` from its newest whole checkpoint, or from the start where it has none."""
    if not (folder / "run.json").is_file():
        raise LaminaError(f"--resume: expected a run's folder; {folder} holds no run.json")
    run = Run.load(folder, task_file)
    settled_before = {name: run.info[name] for name in ("threads", "precision") if name in run.info}  # computes as it did
    options = Options(**{**run.info["arguments"]["options"], **settled_before})
    voice = Voice(options.quiet)
    if run.info["status"] == "finished":
        voice.say(f"{folder} is finished; there is nothing to resume")
        return run
    if data is None and run.info["source"].get("data") == "<memory>":
        raise LaminaError(f"--resume: {folder} was trained on arrays in memory; give the same arrays as data")
    source = run.source() if data is None else dataclasses.replace(run.source(), data=data)
    read = run.task.read(source)
    if read.fingerprint != run.info["data"]["fingerprint"]:
        raise LaminaError(f"--resume: the data of {folder} has changed since it was started; train anew")
    if "recipe" in run.info:
        recipe = Recipe(**run.info["recipe"])
    else:  # stopped before the recipe was settled
        recipe = dataclasses.replace(run.task.recipe(read), **alternatives(run.info["arguments"]["recipe"]))
    found = checkpoint.newest(folder / "checkpoints")
    voice.say(f"resuming {folder} at step {found[1]['step'] if found else 0}")
    return learned(run, read, recipe, options, voice, started, found[1] if found else None)


@undisturbed()
def learned(
    run: Run, data: Data, recipe: Recipe, options: Options, voice: Voice, started: float, state: dict[str, Any] | None
) -> Run:
    """Settle what is still open, train, save, evaluate."""
    task = run.task
    threads = options.threads or default_threads()
    torch.set_num_threads(threads)
    device = pick_device(options.device)
    precision, why = pick_precision(options.precision, device)
    if options.precision == "auto" and task.exact:
        precision, why = "float32", "its outputs must be exact"
    if state is not None and str(device) != run.info["device"]:
        voice.say(f"the run began on {run.info['device']} and goes on on {device}: it will not end with the same bits")
    torch.manual_seed(options.seed)
    model = run.network()
    check_model(model)
    if state is None:
        if (run.folder / START).is_file():  # what a surgery left of another run's weights
            load_tensors(model, load_file(run.folder / START))
        elif not run.info.get("surgeries"):
            task.init(model, data)
        if options.init:
            voice.say(start_from(model, Run.load(options.init, task_file=run.info.get("task_file"))))
    model = to_layout(model, device)
    clock = {"progress": 0.0}
    adversary = Adversary.of(task, data.train, recipe.adversarial, recipe.adversarial_steps) if recipe.adversarial > 0 else None
    told = run.info.get("teacher")
    lesson = teacher_of(task, told, run.info.get("task_file"), device, precision) if told else None

    def make(recipe: Recipe, lr: float) -> Learner:
        size = recipe.batch_size if isinstance(recipe.batch_size, int) else 64
        stream = task.stream(model, data.train, size, options.seed, lambda: clock["progress"])
        optimizers = build(task.groups(model, recipe), recipe, lr)
        average = Average(model, recipe.ema) if recipe.ema > 0 else None
        return Learner(
            task, model, model, optimizers, stream, recipe, options.seed, device, precision, average, adversary, lesson
        )

    def spare(recipe: Recipe, lr: float = 1e-3) -> Learner:
        mine = make(recipe, lr)
        return finder.spare(mine, mine.stream, recipe, lr)

    recipe = settled(recipe, data, spare, voice)
    assert isinstance(recipe.lr, (int, float))  # settled
    plan, budget = Plan.from_json(run.info["plan"]) if "plan" in run.info else None, None
    if plan is None and recipe.minutes:
        budget = Budget.measured(spare(recipe, float(recipe.lr)), data, recipe, started)
        recipe = dataclasses.replace(recipe, evaluations=budget.evaluations)
    learner = make(recipe, float(recipe.lr))
    headline, better = task.headline
    valid_part = data.valid

    def valid(forward: Forward) -> dict[str, float]:
        return task.briefly().evaluate(forward, valid_part)[0] if length(valid_part) else {}

    if plan is None:
        plan = budget.plan() if budget else Plan.of(steps_of(task, recipe, data))
    compiled = run.info.get("compiled", options.compile == "on")  # a resumed run computes as it did
    if options.compile == "auto" and "compiled" not in run.info and device.type == "cuda":
        compiled = compile_pays(spare(recipe), plan)
    if compiled and learner.graph is not None:
        learner.graph.compiled = True
    elif compiled:
        learner.forward = torch.compile(model)  # type: ignore[assignment]
        voice.say("compiling the model" + ("" if options.compile == "on" else ": the run is long enough to earn it back"))
    run.update(
        status="running",
        recipe=dataclasses.asdict(recipe),
        plan=plan.as_json(),
        threads=threads,
        device=str(device),
        precision=precision,
        compiled=compiled,
        parameters=sum(p.numel() for p in model.parameters()),
    )
    an_update = int(recipe.batch_size) * recipe.accumulate
    voice.say(
        f"{task.name}: {run.info['parameters']:,} parameters on {device} in {precision} ({why}), "
        f"{plan.steps:,} steps of {an_update} examples -> {run.folder}"
    )
    log = Log(run.folder, options.tensorboard, from_step=state["step"] if state else 0)
    deadline = Deadline(run, budget)
    voice.start(plan.steps, state["step"] if state else 0)
    try:
        kept = fit(
            learner,
            Watch(headline, better, recipe.patience),
            plan,
            valid,
            Callbacks(log.row, voice.say, voice.move, lambda step, s: _save(run, step, s), deadline.replan),
            start=state,
            clock=clock,
            log_steps=options.log_steps,
            checkpoint_seconds=options.checkpoint_minutes * 60,
            checkpoint_steps=options.checkpoint_steps,
            nan_patience=options.nan_patience,
        )
    except KeyboardInterrupt:
        run.update(status="interrupted")
        raise
    except Exception:
        with contextlib.suppress(OSError):  # a full disk must not hide what went wrong
            run.update(status="stopped")
        raise
    finally:
        voice.stop()
        log.close()
    return finished(run, kept, learner, data, voice, started - (state["seconds"] if state else 0.0))


def finished(run: Run, model: torch.nn.Module, learner: Learner, data: Data, voice: Voice, started: float) -> Run:
    """Save the weights, evaluate on the test part, and say how it went. started: earlier by what a resumed run had trained.

    What served the training alone goes: run.json lists it until all else is done, so that a stop on the way can be resumed.
    """
    passing = run.info.get("passing")
    if passing:
        model = lasting(run, model, passing).to(learner.device)
    run.save_weights(model)
    part = next((p for p in ("test", "valid", "train") if length(data.parts()[p])), "train")
    forward = forward_of(model, learner.precision, learner.device)
    evaluation = evaluate(run, data, part=part, forward=forward)
    seconds = round(time.monotonic() - started, 1)
    if passing:
        run.info["surgeries"] = passing["surgeries"]
    for name in ("passing", "teacher", *(() if run.info.get("surgeries") else ("surgeries",))):
        run.info.pop(name, None)
    run.update(status="finished", metrics=evaluation.metrics, evaluated_on=part, skipped_steps=learner.skipped, seconds=seconds)
    metric, value = next(iter(evaluation.metrics.items()))
    low, high = figure(value["low"]), figure(value["high"])
    (run.folder / START).unlink(missing_ok=True)
    voice.say(f"{part} {metric} {figure(value['value'])} ({low} to {high}), {seconds:.0f} s -> {run.folder}")
    return run


def lasting(run: Run, model: torch.nn.Module, passing: Mapping[str, Any]) -> torch.nn.Module:
    """The network of `run` that outlasts its training, with the weights of `model`: without the passing tensors."""
    made = apply(run.task.model(), passing["surgeries"])
    load_tensors(made, baked(named_tensors(model), passing["tensors"]))
    return made.eval()


def settled(recipe: Recipe, data: Data, spare: Any, voice: Voice) -> Recipe:
    """The recipe with every `auto` decided, and said."""
    constant = dataclasses.replace(recipe, schedule="constant", warmup=0.0, ema=0.0)
    if recipe.batch_size == "auto":
        size = finder.batch_size(
            lambda n: spare(dataclasses.replace(constant, batch_size=n)), largest=max(1, length(data.train) // 8)
        )
        voice.say(f"batch size {size}: larger ones train no faster")
        recipe, constant = dataclasses.replace(recipe, batch_size=size), dataclasses.replace(constant, batch_size=size)
    if recipe.lr == "auto":
        rate = finder.learning_rate(lambda lr: spare(constant, lr))
        voice.say(f"learning rate {rate:.3g}: where the loss fell fastest")
        recipe = dataclasses.replace(recipe, lr=rate)
    return recipe


def steps_of(task: Task, recipe: Recipe, data: Data) -> int:
    """Optimizer steps: as given, or epochs times the steps of one."""
    if recipe.steps is not None:
        return recipe.steps
    assert isinstance(recipe.batch_size, int) and recipe.epochs is not None  # settled, and checked
    count = task.epoch(data)
    an_epoch = max(1, count // min(recipe.batch_size, count)) / recipe.accumulate
    return max(1, round(an_epoch * recipe.epochs))


def compile_pays(learner: Learner, plan: Plan) -> bool:
    """On a GPU, whether the run lasts longer than compiling takes to earn back. On a CPU it gains under 8%: never."""
    return finder.step_seconds(learner, at_least=0.5) * plan.steps > COMPILE_PAYS_SECONDS


def fitting(model: torch.nn.Module, other: Run) -> dict[str, torch.Tensor]:
    """The weights of `other` whose names and shapes are those of `model`, which may be on `meta`.

    Raises LaminaError where none are.
    """
    own = model.state_dict()
    shared = {name: t for name, t in named_tensors(other.model()).items() if name in own and own[name].shape == t.shape}
    if not shared:
        raise LaminaError(f"--init: expected a run with weights that fit this model; none of {other.folder} do")
    return shared


def start_from(model: torch.nn.Module, other: Run) -> str:
    """Copy the weights of `other` whose names and shapes agree; says how many."""
    own, fit = named_tensors(model), fitting(model, other)
    shared = {name: fit[name] for name in own if name in fit}
    load_tensors(model, {**own, **shared})
    left = [name for name in own if name not in shared]
    return f"starting from {other.folder}: {len(shared)} of {len(own)} tensors" + (
        f"; new: {', '.join(left[:4])}" if left else ""
    )


def assigned(kind: type[Task], fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each field to the dataclass that has it. Raises LaminaError for a name that none has, with the nearest that one has."""
    homes: dict[str, Any] = {"source": Source, "task": kind, "recipe": Recipe, "options": Options}
    names = {home: {f.name for f in dataclasses.fields(c) if not f.metadata.get("learned")} for home, c in homes.items()}
    given: dict[str, dict[str, Any]] = {home: {} for home in homes}
    for name, value in fields.items():
        home = next((h for h in homes if name in names[h]), None)
        if home is None and f"{name}_name" in names["task"]:  # as the flag is spelled
            home, name = "task", f"{name}_name"
        if home is None:
            near = difflib.get_close_matches(name, set().union(*names.values()), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise LaminaError(f"{name}: expected a setting of {kind.name}; got an unknown one{hint}")
        given[home][name] = value
    return given


def alternatives(given: Mapping[str, Any]) -> dict[str, Any]:
    """epochs, steps and minutes exclude each other: the one that is given clears the task's own choice."""
    lengths = [name for name in ("epochs", "steps", "minutes") if given.get(name) is not None]
    if len(lengths) > 1:
        raise LaminaError(f"--{lengths[1]}: expected one of --epochs, --steps, --minutes; got --{lengths[0]} as well")
    return {**(dict.fromkeys(("epochs", "steps", "minutes")) if lengths else {}), **given}


def described(source: Source) -> dict[str, Any]:
    """A Source as JSON: a path made absolute, arrays as `<memory>`."""
    fields = dataclasses.asdict(dataclasses.replace(source, data=None))
    data = source.data
    if isinstance(data, (str, Path)):
        path = Path(data)
        data = str(path.resolve()) if path.exists() else str(data)
    elif data is not None:
        data = "<memory>"
    return {**fields, "data": data}


def describe_data(voice: Voice, run: Run, data: Data) -> None:
    """One line on what was read, and one on what was set aside."""
    counts = ", ".join(f"{count:,} {part}" for part, count in run.info["data"]["counts"].items())
    voice.say(f"data: {data.about.get('layout', '')} {counts}".replace("  ", " "))
    errors = [f for f in data.findings if f.severity == "error"]
    if errors:
        voice.say(f"set aside: {len(errors)} bad examples, listed in run.json; the first: {errors[0]}")
    warnings = [f for f in data.findings if f.severity == "warning"]
    if warnings:
        voice.say(f"warnings about the data: {len(warnings)}, all shown by lamina scan; the first: {warnings[0]}")


def file_of(kind: type[Task]) -> str | None:
    """The path of an application of one's own; None for those that come with Lamina, or that stand in no file."""
    import sys

    file = getattr(sys.modules[kind.__module__], "__file__", None)  # a notebook has none
    return None if kind.__module__.startswith("lamina.tasks.") or file is None else str(Path(file).resolve())


def _save(run: Run, step: int, state: dict[str, Any]) -> None:
    checkpoint.save(run.folder / "checkpoints", step, state)
