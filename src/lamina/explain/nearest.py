"""The training examples that the model sees as most alike: it thinks so because of these.

Alike is the angle between features: the reserved output `features`, or where there is none, what the last linear layer
to run receives (the penultimate activations).

Shapes: B examples, N references, D features, k neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.task import Batch, Task
from lamina.train.precision import float32


@torch.no_grad()
def features_of(task: Task, model: nn.Module, batch: Batch, size: int) -> Tensor | None:
    """(B, D) of unit length; None where the model gives no features and runs no linear layer on (B, D)."""
    seen: list[Tensor] = []

    def hook(_module: nn.Module, inputs: Any, _said: Any) -> None:
        if inputs and inputs[0].dim() == 2:
            seen.append(inputs[0])

    handles = [module.register_forward_hook(hook) for module in model.modules() if isinstance(module, nn.Linear)]
    parts: list[Tensor] = []
    try:
        for start in range(0, len(batch[task.inputs[0].name]), size):
            seen.clear()
            rows = {name: value[start : start + size] for name, value in batch.items()}
            output = float32(task.outputs(model, rows))
            if isinstance(output, dict) and "features" in output:
                parts.append(output["features"].flatten(1))
            elif seen:
                parts.append(seen[-1].float())
            else:
                return None
    finally:
        for handle in handles:
            handle.remove()
    return F.normalize(torch.cat(parts), dim=1)


def nearest(features_BD: Tensor, references_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The rows of the nearest references (B, k), nearest first, and the cosine of the angle to each (B, k)."""
    cosine_BN = features_BD @ references_ND.T
    found = cosine_BN.topk(min(count, len(references_ND)), dim=1)
    return found.indices, found.values.clamp(-1, 1)
