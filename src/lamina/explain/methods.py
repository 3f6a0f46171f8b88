"""Attributions from gradients and from hiding: how much each place of an input counts for what the model said.

gradient: Simonyan et al. 2014, "Deep Inside Convolutional Networks". input x gradient: Shrikumar et al. 2016.
Integrated gradients: Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks", equation 1. SmoothGrad: Smilkov
et al. 2017, equation 1. Occlusion: Zeiler and Fergus 2014, section 4.2.

Each takes a Subject and returns numbers of leaf shape, but `occlusion`, which returns them by place. Whole batches at once.

Shapes: B examples, S steps or copies, W windows, H and W pixels; `...` are the places of an input.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from lamina.explain.cells import by_cell, count_of, pooled, spread
from lamina.explain.subject import Subject, at_once, gradient_at

MOST_RUNS = 64
"""Stretches of a text that are hidden one after another, at most."""


def gradient(subject: Subject) -> Tensor:
    """d score / d leaf."""
    return gradient_at(subject, subject.leaf)


def input_x_gradient(subject: Subject) -> Tensor:
    """leaf * d score / d leaf."""
    return subject.leaf.detach() * gradient_at(subject, subject.leaf)


def integrated_gradients(subject: Subject, baseline: Tensor, steps: int = 32) -> tuple[Tensor, Tensor]:
    """(leaf - baseline) times the mean gradient on the straight way from the baseline, and what completeness lacks.

    The integral is the Gauss-Legendre rule of `steps` points. The second tensor (B,) is the sum of attributions minus
    score(leaf) - score(baseline), which the axiom of completeness wants to be zero.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    alpha_S, weight_S = torch.tensor((nodes + 1) / 2), torch.tensor(weights / 2)
    x, count = subject.leaf.detach(), len(subject.leaf)
    way = x - baseline
    together = max(1, min(steps, at_once(x) // count))
    total = torch.zeros_like(x)
    copies = subject if together == 1 else subject.repeat(together)
    for start in range(0, steps, together):
        some = min(together, steps - start)
        if some < together:
            copies = subject.repeat(some)
        alpha = alpha_S[start : start + some].to(x).view(1, some, *[1] * (x.dim() - 1))
        weight = weight_S[start : start + some].to(x).view(1, some, *[1] * (x.dim() - 1))
        point = (baseline[:, None] + alpha * way[:, None]).flatten(0, 1)
        total += (gradient_at(copies, point).unflatten(0, (count, some)) * weight).sum(1)
    attribution = total * way
    with torch.no_grad():
        change_B = subject.score(x) - subject.score(baseline)
    return attribution, attribution.flatten(1).sum(1) - change_B


def smooth_grad(subject: Subject, deviation: Tensor | float, copies: int, generator: torch.Generator) -> Tensor:
    """The mean gradient over `copies` of the leaf with normal noise of the given deviation."""
    x, count = subject.leaf.detach(), len(subject.leaf)
    together = max(1, min(copies, at_once(x) // count))
    total = torch.zeros_like(x)
    repeated = subject if together == 1 else subject.repeat(together)
    for start in range(0, copies, together):
        some = min(together, copies - start)
        if some < together:
            repeated = subject.repeat(some)
        noise = torch.randn(count, some, *x.shape[1:], generator=generator).to(x)
        point = (x[:, None] + deviation * noise).flatten(0, 1)
        total += gradient_at(repeated, point).unflatten(0, (count, some)).sum(1)
    return total / copies


def noise_deviation(subject: Subject, share: float) -> Tensor | float:
    """`share` of the range: the declared one of pictures, else that of each example's own leaf (its greatest minus its least)."""
    spec = subject.task.inputs[0]
    if subject.modality == "image" and isinstance(spec.low, float) and isinstance(spec.high, float):
        return share * (spec.high - spec.low)
    flat = subject.leaf.detach().flatten(1)
    return (share * (flat.amax(1) - flat.amin(1))).view(-1, *[1] * subject.leaf.dim())


def occlusion(subject: Subject, baseline: Tensor) -> Tensor:
    """How much the score falls when a window is replaced by the baseline, by place (B, ...).

    Pictures: squares of two cells a side that move by one cell, a place takes the mean over its windows. Else each cell alone:
    the word of a text as a whole, in texts of over 64 words a run of several.
    """
    cell_B = subject.cell
    if subject.modality == "text":  # of long texts runs of words: as many forwards as words would cost minutes
        run = -(-count_of(cell_B) // MOST_RUNS)
        cell_B = torch.where(cell_B >= 0, cell_B // run, -1)
    window_WM = _windows(cell_B[0]) if subject.modality == "image" else torch.eye(count_of(cell_B), dtype=torch.bool)
    fall_B = occluded(subject, baseline, window_WM, cell_B)
    if subject.modality != "text":
        return fall_B
    share_BM = 1 / pooled(torch.ones_like(fall_B), cell_B, total=True)  # the tokens of a word share what the word counts
    return fall_B * by_cell(share_BM, cell_B)


def _windows(cell: Tensor) -> Tensor:
    """Squares of two by two cells (W, M), at every place of the grid."""
    down, right = int(cell[-1, 0]) // (int(cell[0, -1]) + 1) + 1, int(cell[0, -1]) + 1
    windows = []
    for row, column in itertools.product(range(max(1, down - 1)), range(max(1, right - 1))):
        grid = torch.zeros(down, right, dtype=torch.bool)
        grid[row : row + 2, column : column + 2] = True
        windows.append(grid.flatten())
    return torch.stack(windows)


@torch.no_grad()
def occluded(subject: Subject, baseline: Tensor, window_WM: Tensor, cell_B: Tensor) -> Tensor:
    """The same for windows of one's own: each row of `window_WM` says which cells it hides."""
    x, count = subject.leaf.detach(), len(subject.leaf)
    whole_B = subject.score(x)
    together = max(1, min(len(window_WM), at_once(x) // count))
    fall_BM = torch.zeros(count, window_WM.shape[1], device=x.device)
    copies = subject if together == 1 else subject.repeat(together)
    for start in range(0, len(window_WM), together):
        hidden_WM = window_WM[start : start + together]
        some = len(hidden_WM)
        if some < together:
            copies = subject.repeat(some)
        many = x.repeat_interleave(some, 0)
        cells = cell_B.repeat_interleave(some, 0) if len(cell_B) == count else cell_B
        hidden = spread(hidden_WM.to(x.device).repeat(count, 1), cells, many, subject.modality)
        score = copies.score(torch.where(hidden, baseline.repeat_interleave(some, 0), many))
        fall_BW = whole_B[:, None] - score.unflatten(0, (count, some))
        fall_BM += fall_BW @ hidden_WM.to(fall_BW)
    mean_BM = fall_BM / window_WM.sum(0).clamp(min=1).to(fall_BM)
    return by_cell(mean_BM, cell_B)
