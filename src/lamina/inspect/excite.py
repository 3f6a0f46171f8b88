"""What a unit answers to: the examples that excite it most, and a picture made to excite it (images only).

The picture: ascent of the mean activation of the unit over pictures within the declared range, shifted a little at random
at each step and smoothed as it goes, so that it holds shapes and not noise (Mordvintsev, Olah, Tyka 2015; Olah,
Mordvintsev, Schubert 2017, "Feature Visualization", doi:10.23915/distill.00007).

Legend: B examples, C channels, H and W pixels, U units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lamina.inspect.probes import of_tokens
from lamina.inspect.trace import watched
from lamina.task import Batch, Task

JITTER = 2
"""Pixels that a picture is shifted by at most."""
SHARPNESS = 0.08
"""Size of a step, as a share of the range."""


def by_unit(x: Tensor) -> Tensor:
    """(B, U): the mean over positions of each unit: channels of (B, C, H, W), the last dimension of anything else."""
    return x.flatten(2).mean(2) if x.dim() == 4 else x.flatten(1, -2).mean(1) if x.dim() > 2 else x


def exciting(
    task: Task, model: nn.Module, names: list[str], batches: list[Batch], units: int, most: int
) -> dict[str, dict[int, list[int]]]:
    """For each module {unit: the indices of the `most` examples that excite it most}, for the `units` units that vary most.

    Empty for a module that did not run, whose output does not lead with the examples, or whose units are places of a text, as
    scores of attention are: each batch has as many as its longest.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    with torch.no_grad(), watched(model, names) as seen:
        for batch in batches:
            task.outputs(model, batch)
            x = batch[task.inputs[0].name]
            is_text = task.inputs[0].modality == "text" and x.dim() == 2
            for name in names:
                if name in seen and len(seen[name]) == len(x):
                    parts[name].append(by_unit(of_tokens(seen[name], x != 0) if is_text else seen[name]).float().cpu())
    found: dict[str, dict[int, list[int]]] = {name: {} for name in names}
    for name, said in parts.items():
        if len(said) == len(batches) and said[0].dim() >= 2 and len({x.shape[1] for x in said}) == 1:
            said_BU = torch.cat(said)
            chosen = said_BU.std(0).argsort(descending=True)[:units].tolist()
            found[name] = {u: said_BU[:, u].argsort(descending=True)[:most].tolist() for u in chosen}
    return found


def is_answer(task: Task, model: nn.Module, name: str, batch: Batch) -> bool:
    """Whether the module of that name gives the `logits`: its units are the classes then."""
    with torch.no_grad(), watched(model, [name]) as seen:
        said = task.outputs(model, batch)
    return isinstance(said, dict) and "logits" in said and said["logits"] is seen.get(name)


def smoothed(x_BCHW: Tensor) -> Tensor:
    """A little of every neighbour: a 3x3 binomial kernel, edges repeated."""
    kernel = torch.tensor([1.0, 2.0, 1.0], dtype=x_BCHW.dtype, device=x_BCHW.device)
    kernel = (kernel[:, None] * kernel / 16).expand(x_BCHW.shape[1], 1, 3, 3)
    padded = nn.functional.pad(x_BCHW, (1, 1, 1, 1), mode="replicate")
    return nn.functional.conv2d(padded, kernel, groups=x_BCHW.shape[1])


def maximizing(task: Task, model: nn.Module, name: str, units: list[int], batch: Batch, steps: int, seed: int) -> tuple[Any, Any]:
    """Pictures (U, C, H, W) within the range of the input, one a unit, and how strongly each excites it: (U,).

    `batch` gives the shapes, and any side inputs, of at least U examples.
    """
    spec = task.inputs[0]
    low, high = float(spec.low or 0), float(spec.high if spec.high is not None else 1)  # type: ignore[arg-type]
    batch = {key: value[: len(units)] for key, value in batch.items()}
    generator = torch.Generator().manual_seed(seed)
    start = (torch.rand(batch[spec.name].shape, generator=generator) * 0.2 + 0.4).to(batch[spec.name].device)
    x = (low + (high - low) * start).requires_grad_()
    places = torch.arange(len(units))

    def excitement(pictures: Tensor, seen: dict[str, Tensor]) -> Tensor:
        task.outputs(model, {**batch, spec.name: pictures})
        return by_unit(seen[name])[places, torch.tensor(units)]

    best = x.detach().clone()
    with watched(model, [name]) as seen:
        with torch.no_grad():
            most = excitement(x, seen)
        for step in range(steps):
            shift = torch.randint(-JITTER, JITTER + 1, (2,), generator=generator).tolist()
            said_U = excitement(torch.roll(x, shift, (2, 3)), seen)
            (grad,) = torch.autograd.grad(said_U.sum(), x)
            size = grad.flatten(1).norm(dim=1)[:, None, None, None].clamp(min=1e-12) / grad[0].numel() ** 0.5
            with torch.no_grad():
                x += SHARPNESS * (high - low) * grad / size * (1 - 0.7 * step / steps)
                if step % 4 == 0 and step < 0.8 * steps:
                    x.copy_(smoothed(x))
                x.clamp_(low, high)
                now = excitement(x, seen)
                better = now > most
                best[better], most = x[better], torch.where(better, now, most)
    return best, most
