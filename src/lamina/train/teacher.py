"""Distillation: a network learns from a larger one's answers as well as from labels.

The loss of an example becomes (1 - soft) * its own + soft * T^2 * KL(teacher || student), both softened by the temperature T
(Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", section 2). Where the answer has no `logits`,
the distance of the outputs stands in, the mean squared difference relative to the teacher's own spread. `hints` adds the
distance between features, the student's projected to the teacher's width (Romero et al. 2015, "FitNets", equation 3, after
Tian et al. 2020 of unit length). It names no task: it knows Outputs, the two reserved keys, and tensors.

Legend: B examples, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.errors import LaminaError
from lamina.run import Run
from lamina.task import Batch, Forward, Output, Task
from lamina.train.precision import autocast, float32

PROJECTED = "projected_features"
"""The key under which a student's Output holds its features at the teacher's width."""


def projector(model: nn.Module, width: int, to: int) -> None:
    """The surgery for the time of training: `features` (B, width), mapped to (B, to), stand in the Output too."""
    model.projector = nn.Linear(width, to, bias=False)

    def add(module: nn.Module, inputs: Any, output: Output) -> Output:
        if not isinstance(output, dict) or "features" not in output:
            raise LaminaError("distillation: expected an Output with features; got none")
        return {**output, PROJECTED: module.projector(output["features"])}  # type: ignore[operator]

    model.register_forward_hook(add)


@dataclass
class Teacher:
    """What `Learner.lesson` calls: the loss of a batch by term -> that loss, the teacher's answers weighed in."""

    task: Task
    forward: Forward
    temperature: float
    soft: float
    hints: float

    def __call__(self, terms: dict[str, tuple[Tensor, Tensor]], output: Output, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        with torch.no_grad():
            said = self.task.outputs(self.forward, batch)
        count_B = torch.ones(len(next(iter(batch.values()))), device=next(iter(batch.values())).device)
        own = {name: ((1 - self.soft) * total, count) for name, (total, count) in terms.items()}
        made = {**own, "teacher": (self.soft * answer_distance(output, said, self.temperature), count_B)}
        if self.hints:
            made["hints"] = (self.hints * feature_distance(output, said), count_B)
        return made


def answer_distance(output: Output, said: Output, temperature: float) -> Tensor:
    """How far the answers `output` are from those that the teacher `said` (B,).

    Raises LaminaError where the two have nothing in common.
    """
    if isinstance(output, dict) and isinstance(said, dict):
        if "logits" in output and "logits" in said:
            return softened_divergence(expect_same("logits", output["logits"], said["logits"]), said["logits"], temperature)
        shared = [k for k in said if k in output and k != "features" and output[k].shape == said[k].shape]
        if not shared:
            raise LaminaError(
                f"distillation: expected outputs in common; the student has {list(output)}, the teacher {list(said)}"
            )
        return sum(
            (relative_distance(output[k], said[k]) for k in shared[1:]), relative_distance(output[shared[0]], said[shared[0]])
        )
    if isinstance(output, dict) or isinstance(said, dict):
        raise LaminaError("distillation: expected outputs of one kind; one is a tensor, the other a dict")
    return relative_distance(expect_same("output", output, said), said)


def expect_same(what: str, one: Tensor, other: Tensor) -> Tensor:
    if one.shape != other.shape:
        raise LaminaError(f"distillation: expected {what} of the teacher's shape {tuple(other.shape)}; got {tuple(one.shape)}")
    return one


def softened_divergence(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)) (B,)."""
    p_BK = (teacher_BK / temperature).softmax(-1)
    log_q_BK = (student_BK / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(log_q_BK, p_BK, reduction="none").flatten(1).sum(1)


def relative_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean squared difference (B,), over the variance of the teacher's values."""
    spread = teacher.var(correction=0).clamp(min=1e-12)
    return (student - teacher).square().flatten(1).mean(1) / spread


def feature_distance(output: Output, said: Output) -> Tensor:
    """The squared distance (B,) between the unit vectors of the student's projected features and the teacher's."""
    if not isinstance(output, dict) or not isinstance(said, dict) or PROJECTED not in output or "features" not in said:
        raise LaminaError("--hints: expected features in both outputs; one has none")
    return (F.normalize(output[PROJECTED], dim=1) - F.normalize(said["features"], dim=1)).square().sum(1)


def teacher_of(student: Task, told: Mapping[str, Any], task_file: str | None, device: torch.device, precision: str) -> Teacher:
    """The teacher that run.json names: {"run", "temperature", "soft", "hints"}.

    Raises LaminaError where its run is gone, or takes other inputs.
    """
    run = Run.load(told["run"], task_file)
    if run.task.inputs != student.inputs:
        raise LaminaError("distill: expected a student that takes the teacher's inputs; its size or columns differ")
    model = run.model().to(device).requires_grad_(False)

    def answered(*inputs: Tensor) -> Output:
        with autocast(precision, device):
            return float32(model(*inputs))

    return Teacher(student, answered, told["temperature"], told["soft"], told["hints"])
