"""A run as a folder that other programs answer from, and the proof that it answers as the run does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.ask import Asked
    from lamina.export.parity import Parity
    from lamina.export.settings import Settings
    from lamina.run import Run
    from lamina.task import Columns
    from lamina.verdict import Verdict


def export(asked: Asked[Settings]) -> Verdict:
    """Write the folder of `settings.out`: the graph, what it takes, its runner, and how well it agrees with the run.

    Both are asked about the test examples of `source` (the run's own data where None) on the processor in float32, whatever
    `device` and `precision` are. Raises LaminaError where the model cannot be exported, or answers differ; nothing is left
    behind then.
    """
    from lamina.evaluate import examples_of
    from lamina.export.folder import check_place, hashes, made_whole

    run, settings = asked.run, asked.settings
    place = Path(settings.out) if settings.out else run.folder / f"export-{settings.format}"
    check_place(place)
    examples = some_of(examples_of(run, asked.source, None)[0], settings.examples)
    with made_whole(place) as folder:
        about, parity = written(run, settings, folder, examples)
        write_about(folder, {**about, "files": hashes(folder)})
        size = sum(path.stat().st_size for path in folder.glob("model.*"))
    return verdict_of(place, about, parity, size)


def some_of(examples: Columns, most: int | None) -> Columns:
    """Up to `most` examples, spread evenly over all."""
    import numpy as np

    from lamina.data.columns import length, take

    count = length(examples)
    return examples if most is None or most >= count else take(examples, np.linspace(0, count - 1, most).astype(int))


def written(run: Run, settings: Settings, folder: Path, examples: Columns) -> tuple[dict[str, Any], Parity]:
    """Fill `folder`, and compare. Raises LaminaError where the answers differ."""
    import numpy as np
    import torch

    from lamina.data.columns import length, take
    from lamina.export.edge import MOST, pte_forward, require_executorch, write_pte
    from lamina.export.folder import copy_processor, readme, serving_of, write_runner
    from lamina.export.graph import output_names, program_of, write_onnx
    from lamina.export.parity import compare, require
    from lamina.export.session import onnx_forward, program_forward
    from lamina.export.writing import share_weights, write_steps
    from lamina.run import versions
    from lamina.terminal import progress

    task, temperature = run.task, run.temperature()
    few = take(examples, np.arange(3) % length(examples))  # a size of one would be fixed in the graph
    if settings.format == "pte":
        require_executorch()
    most = MOST if settings.format == "pte" else None
    program = program_of(task, run.model(), task.encode(few, "evaluate"), temperature, most)
    model = f"model.{settings.format}"
    facts: dict[str, Any] = {}
    if settings.format == "onnx":
        facts = write_onnx(program, task, folder / model)
        written_too = write_steps(task, run.model(), task.encode(few, "evaluate"), folder)
        if written_too:
            share_weights(folder, [model, *written_too])
        exported = onnx_forward(folder / model, task)
    elif settings.format == "pte":
        write_pte(program, folder / model)
        exported = pte_forward(folder / model, output_names(program))
    else:
        torch.export.save(program, folder / model)
        exported = program_forward(folder / model)
    with progress("comparing", length(examples)) as advance:
        reference = run.forward(device="cpu", precision="float32")
        parity = compare(task, reference, exported, examples, settings.tolerance, advance)
    require(parity, settings.tolerance)
    copy_processor(run, folder)
    serving: dict[str, Any] | str = f"{model} needs torch or ExecuTorch to run; --format onnx brings a runner that needs neither"
    if settings.format == "onnx":
        serving = serving_of(task, folder)
    if isinstance(serving, dict):
        write_runner(serving, folder)
    (folder / "README.txt").write_text(readme(task, model, isinstance(serving, dict)), encoding="utf-8")
    about = {
        "model": model,
        "task": task.name,
        "inputs": [spec.__dict__ for spec in task.inputs],
        "sizes": {"B": [1, most], **task.sizes},
        "outputs": list(output_names(program)),
        "temperature": temperature,
        "asks": list(task.asks),
        "serving": serving if isinstance(serving, dict) else None,
        "no_runner": None if isinstance(serving, dict) else serving,
        "parity": {"tolerance": settings.tolerance, **parity.as_json()},
        "run": {"folder": run.folder.name, "weights": run.info.get("weights", {})},
        "versions": {**versions(), **library_versions(), **facts},
    }
    return about, parity


def library_versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("onnx", "onnxscript", "onnxruntime", "executorch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_about(folder: Path, about: dict[str, Any]) -> None:
    from lamina.export.folder import ABOUT
    from lamina.files import write_json
    from lamina.terminal import jsonable

    write_json(folder / ABOUT, jsonable(about))


def verdict_of(place: Path, about: dict[str, Any], parity: Parity, size: int) -> Verdict:
    """What was made and how well it agrees, in words and figures."""
    from lamina.terminal import size_text
    from lamina.verdict import Verdict, figure

    key, difference = parity.worst
    headline = next(iter(parity.run))
    sentences = (
        f"Exported to {place}: the same answers as the run on {parity.count - parity.changed:,} of {parity.count:,} examples.",
        f"No output differs by more than {difference.largest:.2g} ({key}, {difference.share:.1g} of its root mean square).",
        f"{headline} is {parity.exported[headline]:.4f} exported and {parity.run[headline]:.4f} in the run.",
        f"The model takes {size_text(size)}.",
    )
    if about["serving"]:
        sentences = (*sentences, f"Without torch: python {place / 'run.py'} FILE ... --json")
    outputs = [
        {"output": name, "largest difference": d.largest, "root mean square": d.rms, "share": d.share}
        for name, d in parity.outputs.items()
    ]
    metrics = [{"metric": name, "run": parity.run[name], "exported": parity.exported[name]} for name in parity.run]
    warnings = ()
    if parity.changed:
        warnings = (f"{parity.changed:,} answers change, though outputs are within the tolerance: near a tie, rounding decides.",)
    return Verdict(
        verb="export",
        sentences=sentences,
        figures={
            "changed_answers": figure(parity.changed),
            "max_abs_difference": figure(difference.largest),
            "max_difference_share": figure(difference.share),
            f"exported_{headline}": figure(parity.exported[headline]),
            "model_bytes": figure(size),
        },
        tables={"outputs": outputs, "metrics": metrics},
        warnings=warnings,
        skipped={} if about["serving"] else {"runner": about["no_runner"]},
        details={"folder": str(place), **{name: about[name] for name in ("model", "inputs", "outputs", "temperature", "parity")}},
    )
