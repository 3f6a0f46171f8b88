"""`shrink`: a new run from a run, smaller or faster, with what that cost and gained on the same examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lamina.ask import Asked
from lamina.compare import Comparison, compare, points
from lamina.data.source import Data
from lamina.errors import LaminaError
from lamina.run import Run
from lamina.shrink.child import parent_of, place
from lamina.shrink.measure import compressed_size, inputs_of, latencies, network_facts, size_of
from lamina.shrink.methods import METHODS, Work
from lamina.shrink.settings import Settings
from lamina.terminal import size_text
from lamina.verdict import Verdict, figure


class CostsTooMuch(LaminaError):
    """The smaller model is worse by more than was allowed. Nothing of it is kept."""

    exit_status = 3


def shrink(asked: Asked[Settings]) -> Verdict:
    """Make a smaller run in a folder of its own, and judge both on the same examples.

    source: other data to judge on; what is calibrated or trained uses the run's own. Data in memory, which a run does not
    keep, serve as both.
    Raises LaminaError for a network that the method does not fit, and CostsTooMuch where the headline falls by more than
    `max_drop`; the new folder is gone then.
    """
    run, settings, source = asked.run, asked.settings, asked.source
    if run.served:
        run.model()  # says why not
    data = source if isinstance(source, Data) else run.data()
    with place(run, settings) as folder:
        work = Work(run, settings, folder, data, data is not source, asked.device, asked.precision)
        child = METHODS[settings.method](work)
        part = next(p for p in ("test", "valid", "train") if len(next(iter(data.parts()[p].values()), ())))
        judged_on = part if source is None or source is data else None
        made = compare(
            [child, run], data if source is None else source, judged_on, settings.resamples, settings.confidence,
            asked.batch_size, settings.seed, asked.device, asked.precision,
        )  # fmt: skip
        cost = cost_of(made, run)
        if settings.max_drop is not None and not cost.drop <= settings.max_drop:
            raise CostsTooMuch(
                f"--max-drop: expected {cost.metric} to fall by {settings.max_drop:g} {cost.unit} at most; "
                f"{settings.method} costs {cost.drop:.2f} ({cost.low:.2f} to {cost.high:.2f}): nothing was kept"
            )
        return told(work, child, cost, made)


@dataclass(frozen=True)
class Cost:
    """How much worse the headline is; negative where it is better. In points of a hundred, or percent of the parent's value."""

    metric: str
    drop: float
    low: float
    high: float
    unit: str
    verdict: str


def cost_of(made: Comparison, parent: Run) -> Cost:
    """The paired difference of the two runs, child first, as a cost."""
    (pair,) = made.pairs
    direction = parent.task.headline[1]
    value = made.evaluations[pair.b].metrics[pair.metric]["value"] or 0.0
    share = points(made.evaluations.values(), pair.metric, direction)
    scale = 100.0 if share else 100.0 / max(abs(value), 1e-12)
    sign = -scale if direction == "max" else scale
    low, high = sorted((sign * pair.low, sign * pair.high))
    unit = f"points of {pair.metric}" if share else f"percent of {pair.metric}"
    return Cost(pair.metric, sign * pair.difference + 0.0, low + 0.0, high + 0.0, unit, pair.verdict)  # + 0.0: never -0.0


def told(work: Work, child: Run, cost: Cost, made: Comparison) -> Verdict:
    """Sentences and figures on what was gained and what it cost; the new run's own metrics go into its run.json."""
    run, settings = work.run, work.settings
    evaluation = made.evaluations[made.pairs[0].a]
    child.update(metrics=evaluation.metrics, evaluated_on=made.part)
    one = inputs_of(run.task, evaluation.examples, 1)
    facts = {"parent": network_facts(run, one), "child": network_facts(child, one)}
    sizes = {"parent": size_of(run), "child": size_of(child)}
    seconds = timed(work, child, one)
    parameters, flops = (facts["child"][n] / max(1, facts["parent"][n]) for n in ("parameters", "flops"))
    latency = seconds["child"] / seconds["parent"]
    figures = {
        f"{cost.metric}_drop": figure(cost.drop, cost.low, cost.high),
        cost.metric: dict(evaluation.metrics[cost.metric]),
        "size_bytes": figure(sizes["child"]),
        "size_ratio": figure(sizes["child"] / sizes["parent"]),
        "parameters": figure(facts["child"]["parameters"]),
        "parameters_ratio": figure(parameters),
        "flops": figure(facts["child"]["flops"]),
        "flops_ratio": figure(flops),
        "latency_ms": figure(1000 * seconds["child"]),
        "latency_ratio": figure(latency),
        "latency_ratio_to_float32": figure(seconds["child"] / seconds.get("float32", seconds["parent"])),
        **{name: figure(value) for name, value in work.figures.items()},
    }
    if settings.method == "prune":
        figures["compressed_size_ratio"] = figure(compressed_size(child) / compressed_size(run))
    how = f"{abs(cost.drop):.2f} {cost.unit} {'worse' if cost.drop > 0 else 'better'} than" if cost.drop else "as good as"
    before, after = (f"{1000 * seconds[who]:.2f} ms" for who in ("parent", "child"))
    sentences = (
        f"{child.folder} is {how} {run.folder} on the same {made.count:,} examples of {made.part}; "
        f"the cost lies between {cost.low:.2f} and {cost.high:.2f} ({100 * settings.confidence:g}% interval).",
        f"It takes {size_text(sizes['child'])} on disk in place of {size_text(sizes['parent'])}, "
        f"{sizes['child'] / sizes['parent']:.2f} of it.",
        f"It answers one example in {after} in place of {before}, {latency:.2f} of the time.",
        *work.sentences,
    )
    rows = [
        {"run": name, "size_bytes": sizes[who], **facts[who], "latency_ms": 1000 * seconds[who]}
        for name, who in ((str(run.folder), "parent"), (str(child.folder), "child"))
    ]
    warnings = list(work.warnings)
    if any((run.folder / "processor" / name).exists() for name in ("calibration.json", "unknown.json")):
        warnings.append(
            "the temperature and the cut for unknown inputs belong to the old weights, and were left behind: run stress anew"
        )
    if made.count < 1000:
        warnings.append(f"judged on {made.count} examples: small costs do not show")
    details = {"run": str(child.folder), "parent": parent_of(run), "comparison": cost.verdict, **work.details}
    return Verdict("shrink", sentences, figures, {"cost": rows}, warnings=tuple(warnings), details=details)


def timed(work: Work, child: Run, one: Sequence[Any]) -> dict[str, float]:
    """Seconds of one call of the child, of its parent as it answers, and of the parent in 32 bits where that is another thing."""
    forwards = {
        "child": child.forward(work.device, work.precision),
        "parent": work.run.forward(work.device, work.precision),
    }
    if (work.precision or work.run.info.get("precision")) != "float32":
        forwards["float32"] = work.run.forward(work.device, "float32")
    return latencies(forwards, one)
