"""READ SECOND. The only training loop: `stream`, `augment`, `outputs`, `loss`, a step; and a sentence before each side job.

Every random number depends on (seed, step) alone, and everything else that a step depends on is in the checkpoint, so a
run that was stopped anywhere and resumed ends with the same weights, bit for bit, as one that was not. That holds on a CPU;
on a GPU only as far as its kernels repeat themselves.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from lamina.answer import to_device
from lamina.errors import LaminaError, MachineFault
from lamina.run import forward_of, load_tensors, named_tensors
from lamina.task import Batch, Forward, Output, Stream, Task
from lamina.train.adversary import Adversary
from lamina.train.average import Average
from lamina.train.captured import Captured
from lamina.train.optimizers import set_rates
from lamina.train.precision import autocast, float32, has_convolutions
from lamina.train.recipe import Recipe
from lamina.train.schedules import Plan, factor
from lamina.train.watch import Watch

Terms: TypeAlias = "dict[str, tuple[Tensor, Tensor]]"
"""The loss of a batch by term: summed loss (B,) and item count (B,) of each example."""


@dataclass
class Learner:
    """What a step needs and changes. `forward` is the model, compiled or not."""

    task: Task
    model: nn.Module
    forward: Forward
    optimizers: list[torch.optim.Optimizer]
    stream: Stream
    recipe: Recipe
    seed: int
    device: torch.device
    precision: str
    average: Average | None = None
    adversary: Adversary | None = None
    lesson: Callable[[Terms, Output, Batch], Terms] | None = None
    """What changes the loss of a batch by term: a teacher's answers weighed in."""
    skipped: int = 0
    """Steps left out because their loss or gradient was not a number."""
    skipped_in_row: int = 0

    def __post_init__(self) -> None:
        plain = self.forward is self.model and self.adversary is None and self.lesson is None
        plain = plain and self.recipe.accumulate == 1 and self.recipe.sam == 0
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.statistics = list(self.model.buffers())
        self.graph = Captured(self.whole, [self.model]) if plain and self.task.steady else None
        self.names: list[str] = []
        self.augments = type(self.task).augment is not Task.augment

    def step(self, number: int, progress: float) -> tuple[float, float]:
        """One optimizer step. Returns the loss a counted item, and the gradient's norm before clipping.

        Where either is not a number nothing is learned: weights, averages and batch statistics stay as they were.
        """
        set_rates(self.optimizers, factor(self.recipe, progress))
        before = [b.clone() for b in self.statistics]
        loss, norm = self.clipped(number) if self.graph is None else self.captured(number)
        if math.isfinite(loss) and math.isfinite(norm):
            for optimizer in self.optimizers:
                optimizer.step()
            if self.average is not None:
                self.average.update(self.model)
            self.skipped_in_row = 0
        else:
            for buffer, value in zip(self.statistics, before, strict=True):
                buffer.copy_(value)
            self.skipped += 1
            self.skipped_in_row += 1
        for weight in self.weights:
            weight.grad = None
        self.stream.after_step()
        return loss, norm

    def clipped(self, number: int) -> tuple[float, float]:
        """The loss, and the norm of its gradient before that is clipped."""
        loss = self.gradient(number)
        gradients = [p.grad for p in self.weights if p.grad is not None]
        norm = float(nn.utils.get_total_norm(gradients)) if gradients else 0.0
        if self.recipe.clip is not None and math.isfinite(norm) and norm > self.recipe.clip:
            torch._foreach_mul_(gradients, self.recipe.clip / norm)
        return loss, norm

    def gradient(self, number: int) -> float:
        """Gradients of summed loss over summed count, across the accumulated batches: never a mean of means."""
        batches = [self.batch(number, part) for part in range(self.recipe.accumulate)]
        denominators = self.denominators(batches) if len(batches) > 1 else None
        value = self.backward(number, batches, denominators)
        if self.recipe.sam > 0 and math.isfinite(value):
            self.sharpen(number, batches, denominators)
        return value

    def backward(self, number: int, batches: list[Batch], denominators: dict[str, Tensor] | None) -> float:
        """Adds the gradients of the batches to those of the weights; returns the loss."""
        value = 0.0
        for part, batch in enumerate(batches):
            seed_draws(mixed(self.seed, number, part), self.device)  # dropout and stochastic depth
            terms = self.terms(batch)
            totals = {name: total for name, (total, _) in terms.items()}
            counts = denominators or {name: count.sum() for name, (_, count) in terms.items()}
            loss = sum_of(totals[name].sum() / counts[name].clamp(min=1e-12) for name in totals)
            if loss.requires_grad:
                loss.backward()
            value += float(loss.detach())
        return value

    def captured(self, number: int) -> tuple[float, float]:
        """As `clipped`, by one graph."""
        assert self.graph is not None
        batch = self.batch(number, 0)
        self.names = sorted(batch)
        loss, norm, *gradients = self.graph(*(batch[name] for name in self.names))
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient
        return float(loss.detach()), float(norm)

    def whole(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Of a batch, as `names` has it: the loss, the norm of its gradient, and the gradient of every weight, clipped, and laid
        out as the weight is: zeros where a weight is not used."""
        terms = self.terms(dict(zip(self.names, tensors, strict=True)))
        loss = sum_of(total.sum() / count.sum().clamp(min=1e-12) for total, count in terms.values())
        weights = [p for p in self.model.parameters() if p.requires_grad]  # as they stand in while the graph is made
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
        flat = torch.cat([gradient.flatten() for gradient in gradients])  # one operation in place of one a weight
        norm = flat.norm()
        if self.recipe.clip is not None:
            flat = flat * (self.recipe.clip / norm).clamp(max=1.0)
        parts = [part.view(w.shape) for w, part in zip(weights, flat.split([w.numel() for w in weights]), strict=True)]
        laid = [g if w.is_contiguous() else torch.empty_like(w).copy_(g) for w, g in zip(weights, parts, strict=True)]
        return loss, norm, *laid

    @torch.no_grad()
    def sharpen(self, number: int, batches: list[Batch], denominators: dict[str, Tensor] | None) -> None:
        """Replaces the gradients by those at w + sam * g / |g|, where the loss is about the worst nearby.

        Sharpness-aware minimization (Foret et al. 2021, arXiv:2010.01412, equations 2 and 3). The second backward pass sees
        the same batches and the same dropout; its batch statistics are not kept, and the weights come back to the bit.
        """
        weights = [p for group in self.groups() for p in group["params"] if p.grad is not None]
        if not weights:
            return
        norm = nn.utils.get_total_norm([p.grad for p in weights])
        before = [p.clone() for p in weights]
        kept = [b.clone() for b in self.statistics]
        torch._foreach_add_(weights, torch._foreach_mul([p.grad for p in weights], self.recipe.sam / (norm + 1e-12)))
        for weight in weights:
            weight.grad = None
        with torch.enable_grad():
            self.backward(number, batches, denominators)
        for tensor, value in zip([*weights, *self.statistics], [*before, *kept], strict=True):
            tensor.copy_(value)

    def batch(self, number: int, part: int) -> Batch:
        with autocast(self.precision, self.device):  # a stream may ask the model: as it is trained, so it is asked
            batch = to_device(next(self.stream), self.device)
        if self.augments:
            generator = torch.Generator(self.device).manual_seed(mixed(self.seed + 1, number, part))
            batch = self.task.augment(batch, generator)
        if self.adversary is None:
            return batch
        generator = torch.Generator(self.device).manual_seed(mixed(self.seed + 2, number, part))
        return self.adversary.changed(self.forward, self.model, batch, self.precision, generator)

    def terms(self, batch: Batch) -> Terms:
        """The loss of a batch by term; the forward pass in the chosen precision, the loss in float32."""
        with autocast(self.precision, self.device):
            output = self.task.outputs(self.forward, batch)
        said = float32(output)
        loss = self.task.loss(said, batch)
        terms = loss if isinstance(loss, dict) else {"loss": loss}
        return terms if self.lesson is None else self.lesson(terms, said, batch)

    def denominators(self, batches: list[Batch]) -> dict[str, Tensor]:
        """Counts summed over the accumulated batches. Counts depend on the batch alone, so any forward will do."""
        was_training = self.model.training
        self.model.eval()  # batch statistics must not be counted twice
        with torch.no_grad():
            per_batch = [{name: count.sum() for name, (_, count) in self.terms(batch).items()} for batch in batches]
        if was_training:
            training(self.model)
        return {name: sum_of(counts[name] for counts in per_batch) for name in per_batch[0]}

    def groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def judged(self) -> nn.Module:
        """The model to evaluate and keep: the averaged one where there is one."""
        return self.average.model if self.average is not None else self.model

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": named_tensors(self.model),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "stream": self.stream.state_dict(),
            "average": None
            if self.average is None
            else {"updates": self.average.updates, "model": named_tensors(self.average.model)},
            "skipped": [self.skipped, self.skipped_in_row],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        load_tensors(self.model, state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
            same_layout(optimizer)
        self.stream.load_state_dict(state["stream"])
        if self.average is not None:
            self.average.updates = state["average"]["updates"]
            load_tensors(self.average.model, state["average"]["model"])
        self.skipped, self.skipped_in_row = state["skipped"]


def same_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give restored buffers the memory layout of their weights: sums over another order end in other bits."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight).copy_(value)
            elif isinstance(value, list):
                state[name] = tuple(value)
    for group in optimizer.param_groups:
        for name, value in group.items():
            if name != "params" and isinstance(value, list):
                group[name] = tuple(value)


def sum_of(tensors: Any) -> Tensor:
    first, *rest = tensors
    for tensor in rest:
        first = first + tensor
    return first


def mixed(*numbers: int) -> int:
    """One seed from several numbers, so that neighbours share nothing (SplitMix64's finalizer over each)."""
    value = 0
    for number in numbers:
        value = (value + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value >> 1  # torch takes signed seeds


def seed_draws(seed: int, device: torch.device) -> None:
    """What layers draw from on this device. `torch.manual_seed` seeds every device that there could be, and writes down a
    traceback for each that is not there: a millisecond a step."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


def to_layout(model: nn.Module, device: torch.device) -> nn.Module:
    """Move to the device, channels last where there are convolutions: 1.1 to 1.35 times faster there."""
    model = model.to(device)
    if device.type != "mps" and has_convolutions(model):
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


@dataclass(frozen=True)
class Callbacks:
    """The side jobs of the loop, each a plain function."""

    log: Callable[..., None]
    """log(step, part, **figures)"""
    say: Callable[[str], None]
    move: Callable[[int, int, str], None]
    """move(step, steps, figures): the live line"""
    save: Callable[[int, dict[str, Any]], None]
    """save(step, state): a checkpoint"""
    replan: Callable[[int, Plan, float], Plan]
    """replan(step, plan, evaluating): the plan, or another where a time budget has drifted; recorded before it is returned.
    evaluating: seconds that evaluations took so far"""


def fit(
    learner: Learner,
    watch: Watch,
    plan: Plan,
    valid: Callable[[Forward], dict[str, float]],
    callbacks: Callbacks,
    *,
    start: dict[str, Any] | None = None,
    clock: dict[str, float],
    log_steps: int = 10,
    checkpoint_seconds: float = 60.0,
    checkpoint_steps: int | None = None,
    nan_patience: int = 5,
) -> nn.Module:
    """Train to the end of `plan`; returns the model to keep. `start` is a checkpoint's state, `clock` tells streams the progress.

    Raises KeyboardInterrupt after a checkpoint where Ctrl-C was pressed, and MachineFault where `nan_patience` losses in a
    row are not numbers.
    """
    recipe = learner.recipe
    best: dict[str, Tensor] | None = None
    step, trained_seconds, recent, recent_valid = 0, 0.0, Mean(), ""
    since_evaluation = Mean()
    if start is not None:
        learner.load_state_dict(start["learner"])
        watch.load_state_dict(start["watch"])
        best, step, trained_seconds = start["best"], start["step"], start["seconds"]
        since_evaluation.load(start["since_evaluation"])
        recent.load(start["recent"])

    def state() -> dict[str, Any]:
        return {
            "learner": learner.state_dict(),
            "watch": watch.state_dict(),
            "best": best,
            "step": step,
            "seconds": trained_seconds + time.monotonic() - began,
            "since_evaluation": since_evaluation.state(),
            "recent": recent.state(),
        }

    began = saved = time.monotonic()
    evaluating = 0.0
    training(learner.model)
    with Interrupted() as interrupted:
        while step < plan.steps:
            # Learn.
            clock["progress"] = plan.progress(step)
            loss, norm = learner.step(step, clock["progress"])
            step += 1

            # A loss that is not a number is skipped; so many in a row, and going on is pointless.
            if learner.skipped_in_row:
                callbacks.say(
                    f"step {step}: the loss or its gradient is not a number; the step is skipped ({learner.stream.where()})"
                )
                if learner.skipped_in_row >= nan_patience:
                    raise MachineFault(
                        f"the loss was not a number {nan_patience} steps in a row, at step {step} ({learner.stream.where()}); "
                        "the last checkpoint is kept. Try a lower --lr, --clip 1, or --precision float32"
                    )
            else:
                recent.add(loss)
                since_evaluation.add(loss)

            # Write a row, and move the bar.
            if step % log_steps == 0 or step == plan.steps:
                rate = factor(recipe, clock["progress"])
                seconds = trained_seconds + time.monotonic() - began
                more = learner.stream.figures()
                callbacks.log(
                    step, "train", loss=recent.value(), rate=rate, gradient_norm=norm, seconds=round(seconds, 3), **more
                )
                learning = "".join(f"  {name} {value:,.5g}" for name, value in more.items())
                callbacks.move(step, plan.steps, f"train loss {recent.value():.4f}{learning}{recent_valid}")
                recent = Mean()

            # Evaluate: which weights are best, is it overfitting, is it time to stop.
            if due(step, plan, recipe.evaluations):
                evaluation_began = time.monotonic()
                learner.model.eval()
                figures = valid(forward_of(learner.judged(), learner.precision, learner.device))
                training(learner.model)
                evaluating += time.monotonic() - evaluation_began
                if figures:
                    improved = watch.see(step, since_evaluation.value(), figures)
                    if improved and recipe.keep == "best":
                        best = {name: t.clone() for name, t in named_tensors(learner.judged()).items()}
                    callbacks.log(step, "valid", **figures)
                    told = [f"{name} {figures[name]:.4f}" for name in dict.fromkeys((watch.metric, "loss")) if name in figures]
                    recent_valid = f"  valid {' '.join(told)}"
                    callbacks.move(step, plan.steps, f"train loss {since_evaluation.value():.4f}{recent_valid}")
                    warned = watch.overfitting()
                    if warned:
                        callbacks.say(f"{warned}; {remedy(recipe, watch)}")
                    since_evaluation = Mean()
                    if watch.exhausted():
                        callbacks.say(
                            f"stopping at step {step} of {plan.steps}: no better {watch.metric} in {watch.patience} evaluations"
                        )
                        break
            plan = callbacks.replan(step, plan, evaluating)

            # Save what a resumed run needs.
            now = time.monotonic()
            timely = step % checkpoint_steps == 0 if checkpoint_steps else now - saved > checkpoint_seconds
            if (timely or interrupted.asked) and learner.stream.safe and step < plan.steps:
                callbacks.save(step, state())
                saved = time.monotonic()
                if interrupted.asked:
                    raise KeyboardInterrupt

    model = learner.judged()
    if recipe.keep == "best" and best is not None and watch.best_step != step:
        callbacks.say(f"keeping the weights of step {watch.best_step}: the best {watch.metric} on validation ({watch.best:.4f})")
        load_tensors(model, best)
    return model.eval()


def training(model: nn.Module) -> None:
    """Training mode, but for norms whose parameters are all frozen: their statistics stay as they are."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            parameters = list(module.parameters(recurse=False))
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()


def due(step: int, plan: Plan, evaluations: int) -> bool:
    """Whether progress passes one of the evenly spaced evaluations at this step. The last step always does."""
    if step >= plan.steps:
        return True
    before, now = (math.floor(plan.progress(s) * evaluations + 1e-9) for s in (step - 1, step))  # 6 * (1 / 6) may fall short of 1
    return now > before


def remedy(recipe: Recipe, watch: Watch) -> str:
    """What is done about overfitting, in words."""
    kept = (
        f"the weights of step {watch.best_step} are kept" if recipe.keep == "best" else "the last weights will be kept, as asked"
    )
    if recipe.patience is not None:
        return f"{kept}, and training stops after {recipe.patience} evaluations without improvement"
    return f"{kept}; more data, augmentation or --patience would help"


class Interrupted:
    """The first Ctrl-C (or polite kill) waits until the step is done; a second one acts at once."""

    def __enter__(self) -> Interrupted:
        self.asked = False
        self.previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            for number in (signal.SIGINT, signal.SIGTERM):
                self.previous[number] = signal.signal(number, self.ask)
        return self

    def ask(self, number: int, frame: Any) -> None:
        self.asked = True
        self.__exit__()

    def __exit__(self, *problem: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}


class Mean:
    """A running mean whose state is two numbers."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.total, self.count = self.total + value, self.count + 1

    def value(self) -> float:
        return self.total / self.count if self.count else math.nan

    def state(self) -> list[float]:
        return [self.total, self.count]

    def load(self, state: list[float]) -> None:
        self.total, self.count = state[0], int(state[1])


def check_model(model: nn.Module) -> None:
    """Raises LaminaError where there is nothing to learn."""
    if not any(p.requires_grad for p in model.parameters()):
        raise LaminaError("model: expected at least one parameter that learns; found none")
