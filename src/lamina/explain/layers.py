"""Explanations that read a model's inner maps: Grad-CAM and attention rollout.

Maps are found while the model runs, by the type of what runs, never by the name of a network: feature maps are the last
4-D tensor that any module returns once a convolution has run; attention is caught at PyTorch's own functions.

Grad-CAM: Selvaraju et al. 2017, equations 1 and 2. Attention rollout: Abnar and Zuidema 2020, equation 1.

Shapes: B examples, N heads, Q asking tokens, S tokens, F filters, H and W pixels, h and w of a feature map; `...` places.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lamina.explain.subject import Subject, by_place

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@contextmanager
def feature_maps(model: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, the list receives every 4-D output that comes once a convolution has run, in the order of the forward."""
    found: list[Tensor] = []
    convolved = False

    def hook(module: nn.Module, _inputs: Any, said: Any) -> None:
        nonlocal convolved
        convolved = convolved or isinstance(module, CONVOLUTIONS)
        if convolved and isinstance(said, Tensor) and said.dim() == 4 and said.shape[-1] * said.shape[-2] > 1:
            found.append(said)

    handles = [module.register_forward_hook(hook) for module in model.modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


class Attentions(TorchFunctionMode):
    """Inside, `weights` receives the attention (B, N, Q, S) of every call of PyTorch's attention functions, in order.

    It holds for `F.scaled_dot_product_attention`, whoever calls it, and for `nn.MultiheadAttention`, whose fused path
    PyTorch leaves by itself under a mode such as this. Neither needs a change to the model.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self.weights.append(attention_weights(*args, **kwargs))
        elif func is F.multi_head_attention_forward:
            said, weights = func(*args, **{**kwargs, "need_weights": True, "average_attn_weights": False})
            self.weights.append(weights.detach())
            if not kwargs.get("need_weights", True):
                return said, None
            return said, weights.mean(1) if kwargs.get("average_attn_weights", True) else weights
        return func(*args, **kwargs)


@torch.no_grad()
def attention_weights(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """The weights (B, N, Q, S) that `F.scaled_dot_product_attention` gives its values; its arguments, without dropout."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    logits = query.float() @ key.float().transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        logits = logits.masked_fill(~torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril(), -math.inf)
    if attn_mask is not None:
        logits = logits.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else logits + attn_mask
    return logits.softmax(-1).nan_to_num(0.0)  # a place that may look at nothing, as padding before a causal model


def maps_of(subject: Subject) -> tuple[int, int]:
    """How many feature maps and attentions one forward shows: what applies is seen from one example."""
    one = subject.rows(0, 1)
    with torch.no_grad(), feature_maps(one.model) as maps, Attentions() as attentions:
        one.output(one.leaf.detach())
    return len(maps), len(attentions.weights)


def grad_cam(subject: Subject) -> Tensor:
    """ReLU of the sum of the last feature maps, each weighted by the mean of its gradient: (B, H, W), 0 or more.

    Call it only where `maps_of` found feature maps and no attention: maps before attention say little of what follows.
    """
    x = subject.leaf.detach().requires_grad_()  # so that a graph reaches the maps though no weight wants a gradient
    with feature_maps(subject.model) as maps:
        score_B = subject.score(x)
    map_BFhw = maps[-1]
    (gradient_BFhw,) = torch.autograd.grad(score_B.sum(), map_BFhw)
    weight_BF = gradient_BFhw.float().mean((2, 3))
    cam_Bhw = torch.relu(torch.einsum("bf,bfhw->bhw", weight_BF, map_BFhw.detach().float()))
    size = by_place(x.detach(), subject.modality).shape[1:]
    return F.interpolate(cam_Bhw[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


@torch.no_grad()
def attention_rollout(subject: Subject) -> Tensor | str:
    """How much of each place reaches the answer when attention is followed through all depths: (B, ...), 0 or more.

    A depth gives every token half of itself (its shortcut) and half of the mean over heads of what it attends to. The
    answer is read from a class token where there is one token more than places, and it stands first; else from all.
    It does not depend on which answer is explained. Where tokens are not the places of the input: why, in words.
    """
    x = subject.leaf.detach()
    with Attentions() as attentions, feature_maps(subject.model) as maps:
        subject.output(x)
    if not attentions.weights:
        return "the model runs no attention of PyTorch's"
    flow: Tensor | None = None
    for weights in attentions.weights:
        mean_BQS = weights.mean(1)
        if flow is not None and mean_BQS.shape[2] != flow.shape[1]:
            return f"the number of tokens changes between depths, from {flow.shape[1]} to {mean_BQS.shape[2]}"
        step_BQS = (mean_BQS + torch.eye(*mean_BQS.shape[1:], device=x.device)) / 2
        flow = step_BQS if flow is None else step_BQS @ flow
    assert flow is not None
    places = tuple(by_place(x[:1], subject.modality).shape[1:])
    grid = tuple(maps[0].shape[2:]) if subject.modality == "image" and maps else places  # the first convolution cuts patches
    extra = flow.shape[2] - math.prod(grid)
    if extra not in (0, 1):
        return f"{flow.shape[2]} tokens stand for {math.prod(grid)} places: which token is which place cannot be told"
    if subject.modality == "text" and not extra:  # padding neither asks nor tells
        inside_BT1 = (subject.said[subject.task.inputs[0].name] != 0).unsqueeze(2)
        read = (flow * inside_BT1).sum(1) / inside_BT1.sum(1).clamp(min=1)
    else:
        read = flow[:, 0, 1:] if extra else flow.mean(1)
    map_B = read.unflatten(1, grid)
    if grid == places:
        return map_B
    return F.interpolate(map_B[:, None], size=places, mode="bilinear", align_corners=False)[:, 0]
