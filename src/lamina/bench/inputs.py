"""What the models are asked: examples of the run's own test part, or made from what the task declares of its inputs.

Legend: B examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lamina.data.columns import length, take
from lamina.errors import LaminaError
from lamina.evaluate import examples_of
from lamina.task import Columns, Input, Task

if TYPE_CHECKING:
    from torch import Tensor

    from lamina.run import Run

ORDINARY = 4
"""The least id of a token that is no padding, unknown, beginning or end."""
VARYING = 16
"""The size of a varying dimension of which the task states none."""


def real_columns(run: Run, source: Any, part: str | None, count: int, seed: int) -> Columns | str:
    """`count` examples drawn without replacement, or why there are none, in words."""
    import numpy as np

    try:
        columns, _, _ = examples_of(run, source, part)
    except (LaminaError, OSError) as error:
        if source is not None:
            raise
        return str(error)
    chosen = np.random.default_rng(seed).permutation(length(columns))[:count]
    return take(columns, np.sort(chosen))


def encoded(task: Task, columns: Columns, count: int) -> tuple[Tensor, ...]:
    """The tensors of the first `count` examples, which begin anew where there are fewer."""
    import numpy as np

    batch = task.encode(take(columns, np.arange(count) % length(columns)), "predict")
    return tuple(batch[spec.name] for spec in task.inputs)


def made(task: Task, count: int, seed: int) -> tuple[Tensor, ...]:
    """Random tensors of the declared shapes, uniform within the declared bounds."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return tuple(one_made(spec, task, count, generator) for spec in task.inputs)


def one_made(spec: Input, task: Task, count: int, generator: Any) -> Tensor:
    """(B, ...) in raw units. What has no bounds is within [0, 1]. A text holds no padding, and nothing unknown where it can."""
    import torch

    sizes = [count if d == "B" else task.sizes.get(d, (VARYING, VARYING))[0] if isinstance(d, str) else d for d in spec.dims]
    low = torch.as_tensor(0.0 if spec.low is None else spec.low, dtype=torch.float64)
    high = torch.as_tensor(1.0 if spec.high is None else spec.high, dtype=torch.float64)
    if spec.modality == "text":
        low = torch.minimum(torch.full_like(low, ORDINARY), high)
    view = [1, -1, *[1] * (len(sizes) - 2)]
    low, high = (bound.view(view) if bound.dim() else bound for bound in (low, high))
    kind = getattr(torch, spec.dtype)
    drawn = low + (high - low) * torch.rand(sizes, generator=generator, dtype=torch.float64)
    return (drawn if kind.is_floating_point else drawn.round()).to(kind)
