"""Optimizers and parameter groups: SGD and AdamW are torch's; Muon is ours, because torch's refuses convolutions.

Legend: N output channels or rows, M the other dimensions of a weight together.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lamina.train.precision import pick_precision
from lamina.train.recipe import Recipe

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan et al. 2024): steepest at zero, singular values end in about 0.7 to 1.2."""


def orthogonalized(g_NM: Tensor, steps: int = 3) -> Tensor:
    """The nearest semi-orthogonal matrix to `g_NM`, roughly: Newton-Schulz in bfloat16, or in float32 where that is emulated.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". Three steps, as for the
    CIFAR-10 record of the same author; language models use five.
    """
    a, b, c = NEWTON_SCHULZ
    x = g_NM.to(fast_type(g_NM.device))
    x = x / (x.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    if tall:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(g_NM.dtype)


@functools.cache
def fast_type(device: torch.device) -> torch.dtype:
    """bfloat16 where `device` multiplies it fast: emulated by a processor without it, the iteration takes most of a step."""
    return torch.bfloat16 if pick_precision("auto", device)[0] == "bfloat16" else torch.float32


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized: every direction of a weight matrix learns at the same speed.

    Weights of more than two dimensions (convolutions) are flattened to (N, M). With `unit_rows` the weight is scaled to
    norm sqrt(N) before each step: right for weights that a normalization follows, whose scale means nothing; the
    learning rate is then the angle by which a step turns them. Otherwise the update is scaled by sqrt(max(1, N / M))
    and weight decay is decoupled.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float = 0.95, weight_decay: float = 0.0, unit_rows: bool = False
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "unit_rows": unit_rows})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                buffer = state["momentum_buffer"]
                buffer.mul_(group["momentum"]).add_(weight.grad)
                update = weight.grad.add(buffer, alpha=group["momentum"])  # Nesterov
                turned = orthogonalized(update.reshape(len(update), -1)).view(update.shape)
                rows, columns = len(update), update[0].numel()
                if group["unit_rows"]:
                    weight.mul_(rows**0.5 / (weight.norm() + 1e-7))
                    weight.add_(turned, alpha=-group["lr"])
                else:
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(turned, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


class FusedAdamW(torch.optim.AdamW):
    """torch's fused AdamW, which asks its kernel at once: a network of a few thousand weights spends more time in
    `torch.optim`'s bookkeeping than in the kernel. What it keeps, and computes, is the same."""

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if not weights:
                continue
            self._begin([w for w in weights if not self.state[w]])
            if len(weights) < len(group["params"]):
                self._count_apart(group["params"])
            states = [self.state[w] for w in weights]
            steps = [state["step"] for state in states]
            torch._foreach_add_(list({id(step): step for step in steps}.values()), 1)
            torch._fused_adamw_(
                weights, [w.grad for w in weights], [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states], [], steps, lr=group["lr"], beta1=group["betas"][0],
                beta2=group["betas"][1], weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=False,
            )  # fmt: skip

    def _begin(self, weights: list[Tensor]) -> None:
        """Those that begin together share a count: to add to one is as slow as all the rest."""
        step = torch.zeros((), dtype=torch.float32, device=weights[0].device) if weights else None
        for weight in weights:
            state = self.state[weight]
            state["step"], state["exp_avg"], state["exp_avg_sq"] = step, torch.zeros_like(weight), torch.zeros_like(weight)

    def _count_apart(self, weights: list[Tensor]) -> None:
        """Where some have no gradient, which do not count the step."""
        for weight in weights:
            if self.state[weight]:
                self.state[weight]["step"] = self.state[weight]["step"].clone()


def default_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Two groups: weights of layers, which decay, and biases, norms, embeddings and tokens, which do not; one where nothing does.

    With `muon`, hidden matrices go to Muon and everything else, the last layer included, to AdamW at a hundredth of
    Muon's rate.
    """
    decayed: list[Tensor] = []
    others: list[Tensor] = []
    layers = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd))]
    weights = {id(layer.weight) for layer in layers}
    for parameter in model.parameters():
        if parameter.requires_grad:
            (decayed if id(parameter) in weights else others).append(parameter)
    if recipe.optimizer != "muon" and recipe.weight_decay == 0:
        return [{"params": [p for p in model.parameters() if p.requires_grad], "weight_decay": 0.0}]
    if recipe.optimizer != "muon":
        return [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    last = layers[-1].weight if layers else None
    hidden = [p for p in decayed if p is not last]
    rest = others + [p for p in decayed if p is last]
    return [
        {"params": hidden, "weight_decay": recipe.weight_decay},
        {"params": rest, "weight_decay": 0.0, "optimizer": "adamw", "lr_scale": 0.01},
    ]


def build(groups: list[dict[str, Any]], recipe: Recipe, lr: float) -> list[torch.optim.Optimizer]:
    """One optimizer for each kind that the groups ask for (`optimizer`, default the recipe's).

    A group may set `lr_scale` (times the recipe's rate), `momentum`, `weight_decay` and `unit_rows`. The peak rate is
    kept in the group as `peak_lr`.
    """
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for given in groups:
        group = dict(given)
        kind = group.pop("optimizer", recipe.optimizer)
        group["peak_lr"] = group["lr"] = lr * group.pop("lr_scale", 1.0)
        if group["params"]:
            by_kind.setdefault(kind, []).append(group)
    return [_make(kind, of_kind, recipe, lr) for kind, of_kind in sorted(by_kind.items())]


def _make(kind: str, groups: list[dict[str, Any]], recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    if kind == "muon":
        return Muon(groups, lr=lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    if kind == "sgd":
        momentum, decay = recipe.momentum, recipe.weight_decay
        return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, weight_decay=decay, foreach=True)
    for group in groups:
        beta1 = recipe.momentum if recipe.optimizer == "adamw" else 0.9  # else momentum is that of the main optimizer
        group["betas"] = (group.pop("momentum", beta1), group.pop("beta2", 0.999))
    return FusedAdamW(groups, lr, recipe.weight_decay)


def set_rates(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Set every group's learning rate to `share` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share
