"""Training on inputs that are changed against the model, within a ball (Madry et al. 2018, arXiv:1706.06083, equation 2.1).

Each batch, after its augmentation, is replaced by what projected gradient ascent on the loss makes of it. The model evaluates
while it is attacked, as in the authors' `robustness` library: batch statistics and dropout see the attacked batch alone, once.

Shapes: B examples.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.stress.space import Space
from lamina.stress.victim import column_bound, in_embedding_space, losses, unit_of
from lamina.task import Batch, Columns, Forward, Task
from lamina.train.precision import autocast, float32


@dataclass(frozen=True)
class Adversary:
    """Changes batches by at most `eps` in linf: raw units for pictures, spreads of each column for tables."""

    task: Task
    eps: float
    steps: int
    unit: Tensor | float

    @staticmethod
    def of(task: Task, columns: Columns, eps: float, steps: int) -> Adversary:
        """`columns` are the training rows, over which the spread of a table's columns is taken. Raises LaminaError for codes."""
        unit = None if in_embedding_space(task) else unit_of(task, columns)
        if unit is None:
            spec = task.inputs[0]
            raise LaminaError(f"--adversarial: expected a continuous input; {task.name} takes {spec.modality} as {spec.dtype} codes")
        return Adversary(task, eps, steps, unit)

    def changed(self, forward: Forward, model: nn.Module, batch: Batch, precision: str, generator: torch.Generator) -> Batch:
        """The batch with its first input attacked: a random start, and steps of 2.5 eps / steps along the sign of the gradient.

        `forward` is the model, compiled or not. The gradients of its weights and its mode stay as they were.
        """
        spec = self.task.inputs[0]
        clean = batch[spec.name].detach().float()
        low, high = (column_bound(bound, clean) for bound in (spec.low, spec.high))
        unit = self.unit.to(clean.device) if isinstance(self.unit, Tensor) else self.unit
        space = Space.around(clean, unit, low, high, "linf", self.eps)
        z = space.start(generator)
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        for _ in range(self.steps):
            z = z.detach().requires_grad_()
            attacked = {**batch, spec.name: space.at(z)}
            with autocast(precision, clean.device):
                output = self.task.outputs(forward, attacked)
            loss = losses(self.task, float32(output), attacked).sum()
            (gradient,) = torch.autograd.grad(loss, z)
            step = space.toward(gradient.nan_to_num(0.0, 0.0, 0.0))
            z = space.project(z.detach() + 2.5 * self.eps / self.steps * step)
        for module, mode in modes:
            module.training = mode
        return {**batch, spec.name: space.at(z.detach())}
