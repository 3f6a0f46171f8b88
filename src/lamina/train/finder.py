"""Measuring before training: seconds a step, the learning rate, the batch size. All on copies, so nothing is learned."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable

from lamina.errors import MachineFault
from lamina.task import Stream
from lamina.train.loop import Learner
from lamina.train.optimizers import build
from lamina.train.recipe import Recipe

RANGE = (1e-6, 10.0)
"""Learning rates that the range test tries."""


def step_seconds(learner: Learner, at_least: float) -> float:
    """Seconds of one training step: the median over `at_least` seconds and five steps, after two to warm up."""
    for number in range(2):
        learner.step(number, 0.5)
    times: list[float] = []
    while sum(times) < at_least or len(times) < 5:
        began = time.perf_counter()
        learner.step(2 + len(times), 0.5)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def learning_rate(make: Callable[[float], Learner], tries: int = 100) -> float:
    """The range test of Smith 2017 (arXiv:1506.01186): raise the rate every step until the loss explodes.

    Returns the rate at which the smoothed loss fell fastest, by its slope over the logarithm of the rate, which leaves a
    margin to where it explodes. `make(1.0)` gives a learner to spend whose schedule is constant.
    """
    learner = make(1.0)
    asked = [group["peak_lr"] for group in learner.groups()]
    low, high = (math.log(r) for r in RANGE)
    rates, losses = [], []
    smooth, least = 0.0, math.inf
    for number in range(tries):
        rate = math.exp(low + (high - low) * number / (tries - 1))
        for group, peak in zip(learner.groups(), asked, strict=True):
            group["peak_lr"] = peak * rate
        loss, _ = learner.step(number, 0.5)
        smooth = 0.9 * smooth + 0.1 * loss
        corrected = smooth / (1 - 0.9 ** (number + 1))
        if not math.isfinite(corrected) or corrected > 4 * least:
            break
        least = min(least, corrected)
        rates.append(rate)
        losses.append(corrected)
    return steepest(rates, losses)


def steepest(rates: list[float], losses: list[float]) -> float:
    """The rate where a straight line over a tenth of the curve falls fastest. Raises MachineFault where the loss never fell."""
    width = max(3, len(rates) // 10)
    slopes = []
    for start in range(len(rates) - width + 1):
        y = losses[start : start + width]
        centre = (width - 1) / 2
        slopes.append(sum((i - centre) * v for i, v in enumerate(y)))
    if not slopes or min(slopes) >= 0:
        raise MachineFault("--lr auto: the loss did not fall at any rate; give a rate, or check the data")
    best = min(range(len(slopes)), key=slopes.__getitem__)
    return rates[best + width // 2]


def batch_size(make: Callable[[int], Learner], largest: int, least: int = 16, gain: float = 1.1) -> int:
    """Double the batch while examples a second still grow by `gain`, and while it fits in memory.

    Larger batches than that take memory and steps without saving time.
    """
    best, best_speed = min(least, largest), 0.0
    size = best
    while size <= largest:
        try:
            speed = size / step_seconds(make(size), at_least=0.3)
        except (RuntimeError, MemoryError) as error:
            if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
                raise
            break
        if speed < best_speed * gain:
            break
        best, best_speed = size, speed
        size *= 2
    return best


def spare(learner: Learner, stream: Stream, recipe: Recipe, lr: float) -> Learner:
    """A copy of `learner` to spend: its own weights, optimizers and stream."""
    model = copy.deepcopy(learner.model).train()
    optimizers = build(learner.task.groups(model, recipe), recipe, lr)
    average = copy.deepcopy(learner.average)
    where = learner.seed, learner.device, learner.precision
    return Learner(learner.task, model, model, optimizers, stream, recipe, *where, average, learner.adversary, learner.lesson)
