"""The evaluation of a run as a verdict: metrics, the tables of the task, and the examples that it is most wrong about.

Legend: B examples, C channels, H and W pixels.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.columns import length, take
from lamina.evaluate import Evaluation, evaluate
from lamina.modalities.words import cut
from lamina.terminal import jsonable
from lamina.verdict import Verdict, figure

if TYPE_CHECKING:
    from lamina.run import Run

WORST = 12
"""Examples that are shown."""
QUOTED = 400
"""Characters of a text that is shown."""
PICTURE_SIDE = 96
"""Pixels that a small picture is enlarged to."""


def evaluated(run: Run, source: Any = None, **asking: Any) -> Verdict:
    """How good `run` is on its test part, or on `source`."""
    began = time.monotonic()
    made = evaluate(run, source, **asking)
    metric, better = run.task.headline
    held = made.metrics.get(metric)
    said = [f"Judged on {made.count:,} examples ({made.part})."]
    if held and held["value"] is not None:
        least = f"between {held['low']:.4g} and {held['high']:.4g}"
        direction = "higher" if better == "max" else "lower"
        said.insert(0, f"Its {metric} is {held['value']:.4g} ({direction} is better); chance in the examples leaves it {least}.")
    rows, order = worst(made, metric, better)
    pictures = pictures_of(run, made, order)
    if rows:
        said.append(f"The {len(rows)} examples that it is most wrong about are shown below.")
    forward = run.forward(device=asking.get("device", "auto"), precision=asking.get("precision"))
    pictures |= run.task.portrayed(forward, made.examples, run.pictures("evaluate"))
    return Verdict(
        "evaluate",
        sentences=tuple(said),
        figures={name: figure(v["value"], v["low"], v["high"]) for name, v in made.metrics.items()},
        tables={**made.details, "Most wrong about": rows},
        pictures=pictures,
        seconds=time.monotonic() - began,
        details={"count": made.count, "part": made.part, "fingerprint": made.fingerprint},
    )


def worst(made: Evaluation, metric: str, better: str) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Rows of the examples of greatest loss, or where episodes have none, of the worst headline, and their places."""
    if "loss_total" in made.predictions:
        totals, counts = made.predictions["loss_total"], made.predictions["loss_count"]
        each_B = np.sum(np.reshape(np.asarray(totals) / np.maximum(counts, 1e-12), (made.count, -1)), axis=1)
    else:
        each_B = np.asarray(made.predictions.get(metric, np.zeros(made.count)), np.float64) * (-1 if better == "max" else 1)
    order = np.argsort(-each_B, kind="stable")[:WORST]
    examples, said = take(made.examples, order), take(made.predictions, order)
    rows = []
    for i in range(length(examples)):
        row: dict[str, Any] = {"loss": float(each_B[order[i]])} if "loss_total" in made.predictions else {}
        for prefix, columns in (("", examples), ("said ", said)):
            for name, column in columns.items():
                value = jsonable(column[i])
                if isinstance(value, (str, int, float, bool)) and not name.startswith("loss_"):
                    row[f"{prefix}{name}"] = cut(value, QUOTED) if isinstance(value, str) else value
        rows.append(row)
    return rows, order


def pictures_of(run: Run, made: Evaluation, order: np.ndarray) -> dict[str, Path]:
    """The worst examples as one picture, where the first input is a picture."""
    from PIL import Image

    spec = run.task.inputs[0]
    if spec.modality != "image" or not len(order):
        return {}
    x_BCHW = run.task.encode(take(made.examples, order), "predict")[spec.name].float().numpy()
    low, high = float(np.min(spec.low if spec.low is not None else 0)), float(np.max(spec.high if spec.high is not None else 255))
    x_BHWC = (255 * (x_BCHW - low) / (high - low or 1)).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    side = PICTURE_SIDE
    sheet = Image.new("RGB", (6 * (side + 6) - 6, -(-len(order) // 6) * (side + 6) - 6), "white")
    for i, x_HWC in enumerate(x_BHWC):
        tile = (
            Image.fromarray(x_HWC[..., 0] if x_HWC.shape[2] != 3 else x_HWC)
            .convert("RGB")
            .resize((side, side), Image.Resampling.NEAREST)
        )
        sheet.paste(tile, (i % 6 * (side + 6), i // 6 * (side + 6)))
    path = run.pictures("evaluate") / "worst.png"
    sheet.save(path)
    return {"The examples it is most wrong about, in the order of the table": path}
