"""Is an explanation true to the model? Deletion and insertion against random rankings, and what completeness lacks.

Deletion and insertion: Petsiuk et al. 2018, "RISE", section 3.3. Cells of an input are replaced by the neutral input,
those that an explanation ranks highest first, and the strength of what was said is followed (deletion); or the neutral input
receives them in that order (insertion). A faithful ranking makes the first area small and the second large. How small
and how large is told by random rankings of the same cells of the same example, so that the difference is paired.

Shapes: B examples, M cells, S + 1 points of a curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamina.explain.cells import absent_last, count_of, counts, pooled, ranks, spread
from lamina.explain.subject import Subject

POINTS = 16
"""Steps of a curve: an input is hidden in sixteenths."""


@dataclass(frozen=True)
class Curves:
    """Strength along deletion and insertion, each (B, S + 1), of one ranking."""

    deletion: np.ndarray
    insertion: np.ndarray

    @staticmethod
    def joined(parts: list[Curves]) -> Curves:
        return Curves(np.concatenate([p.deletion for p in parts]), np.concatenate([p.insertion for p in parts]))


def area(curve_BS: np.ndarray) -> np.ndarray:
    """The area under each curve over shares from 0 to 1 (B,), by trapezoids."""
    return (curve_BS[:, 1:] + curve_BS[:, :-1]).mean(1) / 2


@torch.no_grad()
def curves(subject: Subject, baseline: Tensor, rank_BM: Tensor, cell_B: Tensor) -> Curves:
    """Both curves of a ranking of cells (0 is the first to go), where `cell_B` says which places a cell holds."""
    x = subject.leaf.detach()
    own = len(cell_B) > 1 or subject.modality == "text"  # texts of any length have curves of the same points
    steps = POINTS if own else min(POINTS, rank_BM.shape[1])
    count_B1 = counts(cell_B).cpu()[:, None]
    gone, come = [], []
    for step in range(steps + 1):
        first_BM = rank_BM < (step / steps * count_B1.double()).round()
        first = spread(first_BM, cell_B, x, subject.modality).to(x.device)
        gone.append(subject.strength(torch.where(first, baseline, x)))
        come.append(subject.strength(torch.where(first, x, baseline)))
    return Curves(*(torch.stack(part, 1).double().cpu().numpy() for part in (gone, come)))


def curves_of_maps(subject: Subject, baseline: Tensor, maps: list[Tensor], rankings: int, seed: int) -> list[Curves]:
    """The curves of each map (B, ...), and last those of random rankings, the mean over `rankings` of them."""
    generator = torch.Generator().manual_seed(seed)
    cell_B = subject.cell.cpu()
    text = subject.modality == "text"  # a word counts for what its tokens count together
    found = [curves(subject, baseline, ranks(pooled(one.cpu(), cell_B, total=text), generator), cell_B) for one in maps]
    chance = []
    for _ in range(rankings):
        drawn_BM = torch.rand(len(subject.leaf), count_of(cell_B), generator=generator)
        chance.append(curves(subject, baseline, absent_last(drawn_BM, cell_B).argsort(1, descending=True).argsort(1), cell_B))
    mean = [np.mean([getattr(one, name) for one in chance], 0) for name in ("deletion", "insertion")]
    return [*found, Curves(*mean)]


def gains(of: Curves, chance: Curves) -> dict[str, np.ndarray]:
    """Areas (B,) by which a ranking beats chance, above zero where it is better."""
    return {
        "deletion": area(chance.deletion) - area(of.deletion),
        "insertion": area(of.insertion) - area(chance.insertion),
    }


def sign_flip_p(difference_B: np.ndarray, draws: int, seed: int) -> float:
    """How likely a mean at least so far from zero is where each paired difference could as well have the other sign.

    The two-sided sign-flip test (Fisher 1935, section 21); all sign patterns where they are fewer than `draws`.
    """
    count = len(difference_B)
    if 2**count <= draws:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        means = np.abs((2.0 * patterns - 1) @ difference_B) / count
        return float(np.mean(means >= abs(difference_B.mean()) - 1e-15))
    rng = np.random.default_rng((seed, 1))
    below = 0
    for start in range(0, draws, 1000):
        signs = rng.integers(0, 2, (min(1000, draws - start), count)) * 2.0 - 1
        below += int(np.sum(np.abs(signs @ difference_B) / count >= abs(difference_B.mean()) - 1e-15))
    return (1 + below) / (1 + draws)


def mean_interval(value_B: np.ndarray, draws: int, confidence: float, seed: int) -> tuple[float, float, float]:
    """The mean of examples with its percentile bootstrap: (mean, low, high)."""
    rng = np.random.default_rng((seed, 2))
    count = len(value_B)
    means = [value_B[rng.integers(0, count, (min(1000, draws - s), count))].mean(1) for s in range(0, draws, 1000)]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(value_B.mean()), float(low), float(high)


def relative_gap(missing_B: np.ndarray, change_B: np.ndarray) -> float:
    """The sum of what completeness lacks over the sum of what was to be explained, both in magnitude: a mean of ratios
    would be ruled by the examples that hardly change at all."""
    return float(np.abs(missing_B).sum() / max(np.abs(change_B).sum(), 1e-12))
