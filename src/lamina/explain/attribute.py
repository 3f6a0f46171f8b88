"""One method by its name, over one subject: which apply, and what each gives, by place.

Shapes: B examples; `...` are the places of an input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lamina.explain import methods
from lamina.explain.faithfulness import relative_gap
from lamina.explain.layers import attention_rollout, grad_cam, maps_of
from lamina.explain.settings import METHODS, Method, Settings
from lamina.explain.subject import Subject, by_place

GAP = 0.05
"""What completeness may lack before integrated gradients take more steps."""
DOUBLINGS = 3
UNSIGNED = ("gradient", "smooth-grad", "grad-cam", "attention-rollout")
"""Methods whose maps say how much, not for or against."""


@dataclass(frozen=True)
class Attribution:
    """What one method gave. map is (B, ...), positive where a place speaks for what was said."""

    map: Tensor
    missing: np.ndarray | None = None
    """(B,) what completeness lacks, of integrated gradients."""
    change: np.ndarray | None = None
    """(B,) the change that was to be explained."""
    steps: int = 0


def chosen(settings: Settings, subject: Subject) -> tuple[list[Method], dict[str, str]]:
    """The methods to run, the leading one first, and why others do not apply: as asked, or by the modality.

    auto: for pictures integrated gradients and, where there are feature maps, Grad-CAM, else attention rollout where there
    is attention; for tables integrated gradients and occlusion; for texts integrated gradients, occlusion, gradient x input and,
    where there is attention, attention rollout; for everything else integrated gradients.
    """
    skipped = dict[str, str]()
    maps, attentions = maps_of(subject)
    if subject.modality != "image":
        skipped["grad-cam"] = "the input is no picture"
    elif not maps:
        skipped["grad-cam"] = "the model has no feature maps: it runs no convolution"
    elif attentions:
        skipped["grad-cam"] = "attention follows the last feature maps, which then say little of the answer"
    if not attentions:
        skipped["attention-rollout"] = "the model runs no attention of PyTorch's"
    else:
        told = attention_rollout(subject.rows(0, 1))
        if isinstance(told, str):
            skipped["attention-rollout"] = told
    if settings.method == "all":
        return [name for name in METHODS if name not in skipped], skipped
    if settings.method != "auto":
        if settings.method in skipped:
            return [], skipped
        return [settings.method], {}
    wanted: tuple[Method, ...] = ("integrated-gradients",)
    if subject.modality == "image":
        wanted += ("grad-cam",) if "grad-cam" not in skipped else ("attention-rollout",)
    elif subject.modality == "table":
        wanted += ("occlusion",)
    elif subject.modality == "text":
        wanted += ("occlusion", "input-x-gradient", "attention-rollout")
    return [name for name in wanted if name not in skipped], {n: why for n, why in skipped.items() if n in wanted}


def attribute(method: Method, subject: Subject, baseline: Tensor, settings: Settings) -> Attribution:
    """The map of `method`. What noise it draws is the same for every subject of the same size."""
    made = _attribute(method, subject, baseline, settings)
    if subject.modality != "text":
        return made
    return replace(made, map=made.map * (subject.cell >= 0))  # padding, beginning and end never count


def _attribute(method: Method, subject: Subject, baseline: Tensor, settings: Settings) -> Attribution:
    modality = subject.modality
    if method == "integrated-gradients":
        return _integrated(subject, baseline, settings.ig_steps, most=settings.ig_steps * 2**DOUBLINGS)
    if method == "input-x-gradient":
        return Attribution(by_place(methods.input_x_gradient(subject), modality))
    if method == "gradient":
        return Attribution(by_place(methods.gradient(subject), modality, signed=False))
    if method == "smooth-grad":
        generator = torch.Generator().manual_seed(settings.seed)
        deviation = methods.noise_deviation(subject, settings.noise)
        made = methods.smooth_grad(subject, deviation, settings.noisy_copies, generator)
        return Attribution(by_place(made, modality, signed=False))
    if method == "occlusion":
        return Attribution(methods.occlusion(subject, baseline))
    if method == "grad-cam":
        return Attribution(grad_cam(subject))
    flow = attention_rollout(subject)
    assert isinstance(flow, Tensor), flow
    return Attribution(flow)


def _integrated(subject: Subject, baseline: Tensor, steps: int, most: int) -> Attribution:
    while True:
        made, missing = methods.integrated_gradients(subject, baseline, steps)
        missing_B = missing.double().cpu().numpy()
        change_B = made.flatten(1).double().sum(1).cpu().numpy() - missing_B
        if relative_gap(missing_B, change_B) < GAP or 2 * steps > most:
            return Attribution(by_place(made, subject.modality), missing_B, change_B, steps)
        steps *= 2
