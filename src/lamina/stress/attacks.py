"""Does a model withstand inputs that were changed a little on purpose?

An example counts as robust only if it withstands every attack. Gradient attacks (FGSM, PGD, APGD) can be misled by
a model that hides its gradient (Athalye, Carlini, Wagner 2018, arXiv:1802.00420); an attack that only asks questions
(Square, or random search) cannot. Where it beats them, robustness is an illusion, and the verdict warns.

Attacked is what `task.outputs` says in one call, in float32, on the examples that are answered rightly.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from lamina.data.columns import length, take
from lamina.stress.apgd import apgd
from lamina.stress.corruptions import subset
from lamina.stress.search import search
from lamina.stress.steps import Found, fgsm, no_gradient, pgd
from lamina.stress.victim import Victim, at_rest, encoded, in_embedding_space, unit_of
from lamina.task import Columns, Task
from lamina.terminal import figure as shown
from lamina.terminal import progress
from lamina.verdict import Verdict, figure

if TYPE_CHECKING:
    from lamina.run import Run
    from lamina.stress.settings import Settings

QUICK_EXAMPLES, QUICK_STEPS, QUICK_QUERIES = 50, 10, 100
CHUNK = 100
"""Examples attacked at once."""
MASKED = 0.1
"""More examples than this share without any gradient: it is masked."""


@dataclass(frozen=True)
class Attacked:
    """What the attacks did to N examples, by the name of the attack."""

    right: np.ndarray
    """(N,) answered rightly before; all where answers are not one of K."""
    fooled: dict[str, np.ndarray]
    """(N,) answered wrongly within the ball, having been right."""
    clean_loss: np.ndarray
    loss: dict[str, np.ndarray]
    """(N,) the greatest loss that was found; only where nothing can be fooled."""
    no_gradient: float
    """The share of right examples whose gradient is zero."""
    classes: bool
    eps: float


def attack_part(run: Run, examples: Columns, settings: Settings, model: nn.Module) -> Verdict:
    """Figures `robust_accuracy`, `robust_ATTACK` and `attack_clean_accuracy`; for answers that are no class, `attacked_loss`."""
    began = time.monotonic()
    task = run.task
    if not settings.attacks:
        return Verdict("stress", (), {}, skipped={"attacks": "turned off"})
    if task.coupled:
        why = "an example's loss depends on the others of its batch, so none can be attacked alone"
        return Verdict("stress", (), {}, skipped={"attacks": why})
    most, steps, queries = settings.attack_examples, settings.attack_steps, settings.attack_queries
    if settings.quick:
        most, steps, queries = min(most, QUICK_EXAMPLES), min(steps, QUICK_STEPS), min(queries, QUICK_QUERIES)
    chosen = subset(examples, most, settings.seed)
    attacked = attack(
        task, model, chosen, settings.norm, settings.eps, steps, settings.restarts, queries, settings.seed, spread_over=examples
    )
    skipped = {}
    if length(chosen) < length(examples):
        skipped["attacks on all examples"] = f"{length(chosen):,} of {length(examples):,} were attacked"
    if in_embedding_space(task):
        skipped["attacks on the input itself"] = "its codes have no gradient: what was attacked is their embedding"
    return told(run, settings, attacked, skipped, {"steps": steps, "queries": queries}, time.monotonic() - began)


def attack(
    task: Task,
    model: nn.Module,
    examples: Columns,
    norm: Any = "linf",
    eps: float | None = None,
    steps: int = 50,
    restarts: int = 3,
    queries: int = 1000,
    seed: int = 0,
    spread_over: Columns | None = None,
) -> Attacked:
    """Every attack on labelled raw examples; the columns of a table are measured in their spread over `spread_over`."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    unit = unit_of(task, examples if spread_over is None else spread_over)
    unit = unit.to(device) if isinstance(unit, torch.Tensor) else unit
    parts: list[Attacked] = []
    with at_rest(model), progress("attacking", length(examples)) as advance:
        for start in range(0, length(examples), CHUNK):
            rows = take(examples, np.arange(start, min(start + CHUNK, length(examples))))
            victim = Victim.of(task, model, encoded(task, rows, device), unit, norm, eps)
            parts.append(attacked_chunk(victim, steps, restarts, queries, (seed, start)))
            advance(length(rows))
    return joined(parts)


def attacks_on(victim: Victim, steps: int, restarts: int, queries: int) -> dict[str, Callable[[Victim, Any], Found]]:
    """The attacks that apply, by name: (victim, generator) -> Found. The one that only asks is last."""
    classes = victim.label is not None
    objective: Any = "score" if classes else "loss"
    found: dict[str, Callable[[Victim, Any], Found]] = {
        "fgsm": lambda v, g: fgsm(v, objective),
        "pgd": lambda v, g: pgd(v, objective, steps, restarts, g),
        "apgd_ce" if classes else "apgd": lambda v, g: apgd(v, objective, steps, 1, g),
    }
    if classes:
        with torch.no_grad():
            many = victim.answer(victim.space.clean)["logits"].shape[1] >= 3  # type: ignore[index]
        # Two classes have no third logit to divide by: their margin takes its place.
        found["apgd_dlr" if many else "apgd_margin"] = lambda v, g: apgd(v, "dlr" if many else "margin", steps, 1, g)
    asking = "square" if victim.task.inputs[0].modality == "image" else "search"
    found[asking] = lambda v, g: search(v, "margin" if classes else objective, queries, g)
    return found


def attacked_chunk(victim: Victim, steps: int, restarts: int, queries: int, seed: tuple[int, int]) -> Attacked:
    """Every attack on one batch."""
    rest = torch.zeros_like(victim.space.clean)
    objective: Any = "score" if victim.label is not None else "loss"
    clean_loss, wrong, gradient = victim.gradient(rest, objective)
    right = ~wrong
    part = victim.take(right)
    silent = (gradient[right].flatten(1) == 0).all(1)
    fooled, loss = {}, {}
    for number, (name, run_attack) in enumerate(attacks_on(victim, steps, restarts, queries).items()):
        mask = torch.zeros_like(wrong)
        if len(part):
            generator = torch.Generator().manual_seed(seed[0] * 1_000_003 + seed[1] * 31 + number)
            found = run_attack(part, generator)
            mask[right] = found.fooled
            if victim.label is None:
                now, _ = no_gradient(part, found.z, "loss")
                loss[name] = torch.maximum(now, clean_loss).double().cpu().numpy()
        fooled[name] = mask.cpu().numpy()
    return Attacked(
        right.cpu().numpy(),
        fooled,
        clean_loss.double().cpu().numpy(),
        loss,
        float(silent.float().mean()) if len(silent) else 0.0,
        victim.label is not None,
        victim.space.eps,
    )


def joined(parts: list[Attacked]) -> Attacked:
    """Chunks as one."""
    right = np.concatenate([p.right for p in parts])
    fooled = {name: np.concatenate([p.fooled[name] for p in parts]) for name in parts[0].fooled}
    loss = {name: np.concatenate([p.loss[name] for p in parts]) for name in parts[0].loss}
    weights = [max(int(p.right.sum()), 1) for p in parts]
    silent = float(np.average([p.no_gradient for p in parts], weights=weights))
    clean_loss = np.concatenate([p.clean_loss for p in parts])
    return Attacked(right, fooled, clean_loss, loss, silent, parts[0].classes, parts[0].eps)


def told(
    run: Run, settings: Settings, attacked: Attacked, skipped: dict[str, str], budget: dict[str, int], seconds: float
) -> Verdict:
    """Shares with their intervals, in words, and the signs of masked gradients."""
    count = len(attacked.right)
    details = {"attacks": {"eps": attacked.eps, "norm": settings.norm, "examples": count, **budget}}
    unit = {"table": " spreads of each column"}.get(run.task.inputs[0].modality, "")
    ball = f"{settings.norm} of {shown(attacked.eps)}{unit}"
    if in_embedding_space(run.task):
        ball = f"{settings.norm} of {shown(attacked.eps)} spreads of its embedding, which nobody can type"
    warnings = []
    if attacked.no_gradient > MASKED:
        warnings.append(
            f"the gradient is exactly zero at {100 * attacked.no_gradient:.0f}% of the examples: gradient attacks say little here"
        )
    if not attacked.classes:
        return of_losses(attacked, ball, warnings, skipped, details, seconds)
    robust = {name: attacked.right & ~mask for name, mask in attacked.fooled.items()}
    all_robust = np.logical_and.reduce(list(robust.values()))
    *by_gradient, asking = robust
    best = np.logical_and.reduce([robust[name] for name in by_gradient])
    masked = int(best.sum()) - int(robust[asking].sum())
    if masked > 0:
        warnings.append(
            f"gradient masking: {asking}, which only asks questions, leaves {int(robust[asking].sum())} of {count} examples "
            f"right, all gradient attacks together {int(best.sum())}: do not trust robustness against gradients"
        )
    figures = {
        "robust_accuracy": share(all_robust, settings.confidence),
        "attack_clean_accuracy": share(attacked.right, settings.confidence),
        **{f"robust_{name}": share(mask, settings.confidence) for name, mask in robust.items()},
    }
    clean, kept = figures["attack_clean_accuracy"]["value"], figures["robust_accuracy"]
    still = f"{100 * kept['value']:.1f}% ({100 * kept['low']:.1f} to {100 * kept['high']:.1f})"
    sentences = (
        f"Of {count:,} examples it does the same in {still} when each is changed on purpose within {ball}."
        if run.task.acts
        else f"Of {count:,} examples it answers {100 * clean:.1f}% rightly, and {still} still when each is changed on purpose "
        f"within {ball}.",
    )
    rows = [
        {"attack": name, "robust": float(mask.mean()), "fooled": int(attacked.fooled[name].sum())}
        for name, mask in robust.items()
    ]
    from lamina.stress.robustness_pictures import robustness

    path = run.pictures("stress") / "attacks.svg"
    drawn = {"attacks": robustness(path, {**{row["attack"]: row["robust"] for row in rows}, "all": kept["value"]}, clean)}
    return Verdict("stress", sentences, figures, {"attacks": rows}, drawn, tuple(warnings), skipped, seconds, details)


def of_losses(
    attacked: Attacked, ball: str, warnings: list[str], skipped: dict[str, str], details: dict[str, Any], seconds: float
) -> Verdict:
    """The verdict where answers are no classes: how far the loss can be driven up."""
    worst = np.maximum.reduce(list(attacked.loss.values()))
    *by_gradient, asking = attacked.loss
    best = np.maximum.reduce([attacked.loss[name] for name in by_gradient])
    if attacked.loss[asking].mean() > 1.01 * best.mean():
        reached = shown(float(attacked.loss[asking].mean()))
        warnings.append(
            f"gradient masking: {asking}, which only asks questions, drives the loss to {reached}, "
            f"all gradient attacks together to {shown(float(best.mean()))}"
        )
    clean, after = float(attacked.clean_loss.mean()), float(worst.mean())
    figures = {"attack_clean_loss": figure(clean), "attacked_loss": figure(after)}
    figures |= {f"attacked_loss_{name}": figure(float(loss.mean())) for name, loss in attacked.loss.items()}
    words = f"Changed on purpose within {ball}, its loss rises from {shown(clean)} to {shown(after)}."
    skipped = {**skipped, "robust accuracy": "the answers are not one of K classes: the loss is told instead"}
    rows = [{"attack": name, "loss": float(loss.mean())} for name, loss in attacked.loss.items()]
    return Verdict("stress", (words,), figures, {"attacks": rows}, {}, tuple(warnings), skipped, seconds, details)


def share(mask_N: np.ndarray, confidence: float) -> dict[str, Any]:
    """A share of N examples with Wilson's interval (Wilson 1927), which does not collapse at 0 and 1."""
    from statistics import NormalDist

    count, p = len(mask_N), float(mask_N.mean())
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return figure(p, min(p, middle - half), max(p, middle + half))
