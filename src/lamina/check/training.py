"""What training does with a task: augmented batches from a resumable stream, and weights that learn."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import Tensor, nn

from lamina.check.encoded import out_of_range, wrong_dims
from lamina.check.problem import Broken
from lamina.check.walk import Walk, same_dicts, seeded, word
from lamina.data.columns import length, take
from lamina.task import Batch
from lamina.train.recipe import Recipe

DRAWS = 4
"""How often augmentation is tried: what it does by chance should happen at least once."""
STEPS = 40
BATCH = 4
"""Examples a batch of the stream: few, so that a few batches cross an epoch."""


def training_batch(walk: Walk) -> Batch:
    with seeded(0):
        return walk.encoded(walk.rows, "train")


def augmented(walk: Walk, batch: Batch, seed: int, when: str = "") -> Batch:
    generator = torch.Generator().manual_seed(seed)
    copied = {name: value.clone() for name, value in batch.items()}
    made = walk.attempt("augment", lambda: walk.task.augment(copied, generator), when)
    if not isinstance(made, dict) or not all(isinstance(v, Tensor) for v in made.values()):
        walk.problem(
            "augment-fails", "expected augment to return a batch, a dict of tensors", f"got {word(made)}", method="augment"
        )
        raise Broken
    return made


def augments(walk: Walk) -> None:
    batch = training_batch(walk)
    for seed in range(DRAWS):
        made = augmented(walk, batch, seed)
        found: dict[str, int] = {}
        for spec in walk.task.inputs:
            if spec.name not in made:
                walk.problem(
                    "augment-fails", f"expected augment to keep input {spec.name!r}", f"got {sorted(made)}", method="augment"
                )
                raise Broken
            was, now = batch[spec.name], made[spec.name]
            wrong = wrong_dims(spec, now, walk.task.sizes, found) and not wrong_dims(spec, was, walk.task.sizes, {})
            if wrong or len(now) != len(was):
                want = f"expected augmented {spec.name!r} to keep its shape {tuple(was.shape)}"
                walk.problem("augment-changes-shape", f"{want}; got {tuple(now.shape)}", method="augment")
                raise Broken
            if (wrong := out_of_range(spec, now)) and not out_of_range(spec, was):
                walk.problem("augment-out-of-range", f"after augment, {wrong}: clamp to low and high", method="augment")
        model = walk.model
        walk.losses(walk.output, walk.batch)
        try:
            with torch.no_grad():
                walk.task.loss(walk.task.outputs(model, made), made)
        except Exception as error:
            walk.problem(
                "augment-fails",
                f"expected the model and the loss to take an augmented batch; {walk.told(error)}",
                method="augment",
            )
            raise Broken from error


def draws_from_generator(walk: Walk) -> None:
    batch = training_batch(walk)
    for seed in range(DRAWS):
        with seeded(1):
            one = augmented(walk, batch, seed)
        with seeded(2):
            two = augmented(walk, batch, seed)
        if (name := same_dicts(one, two)) is not None:
            want = "expected the same augmented batch from the same generator"
            walk.problem(
                "augment-global-randomness", f"{want}; {name!r} differs: pass generator=generator to every draw", method="augment"
            )
            return


def recommends(walk: Walk) -> None:
    recipe = walk.attempt("recipe", lambda: walk.task.recipe(walk.data))
    if not isinstance(recipe, Recipe):
        walk.problem("recipe-fails", f"expected recipe to return a Recipe; got {word(recipe)}", method="recipe")
        raise Broken
    model = walk.fresh()
    groups = walk.attempt("groups", lambda: walk.task.groups(model, recipe))
    given = [id(p) for group in groups for p in group["params"]]
    known = {id(p) for p in model.parameters()}
    if len(set(given)) != len(given) or not set(given) <= known:
        walk.problem(
            "groups-fails",
            "expected groups of the model's parameters, each at most once; some are strangers or come twice",
            method="groups",
        )


def resumes(walk: Walk) -> None:
    """A stream stopped after k batches, against a new one restored from its state, across the end of an epoch."""
    if walk.found("encode-random", "not-a-tensor"):
        raise Broken
    columns = take(walk.data.train, list(range(min(10, length(walk.data.train)))))
    for stop in (1, 3):
        with seeded(1):
            stream = started(walk, columns)
            batches(walk, stream, stop)
            state = walk.attempt("stream", lambda s=stream: copy.deepcopy(s.state_dict()), "(state_dict)")
            follow = batches(walk, stream, 3)
        if (bad := not_storable(state)) is not None:
            walk.problem("stream-fails", "expected the state of the stream to be JSON or tensors", f"got {bad}", method="stream")
        with seeded(2):
            restored = started(walk, columns)
            walk.attempt("stream", lambda s=restored, kept=state: s.load_state_dict(kept), "(load_state_dict)")
            again = batches(walk, restored, 3)
        if len(follow) != len(again) or any(same_dicts(a, b) is not None for a, b in zip(follow, again, strict=True)):
            want = f"expected the batches after batch {stop} to be the same from a stream restored from its state"
            advice = "draw from a generator that is part of the state, in encode as well"
            walk.problem("stream-not-resumable", f"{want}; they differ: {advice}", method="stream")
            return


def started(walk: Walk, columns: dict[str, Any]) -> Any:
    return walk.attempt("stream", lambda: walk.task.stream(walk.fresh(), columns, BATCH, 0, lambda: 0.5))


def batches(walk: Walk, stream: Any, count: int) -> list[Batch]:
    made = []
    for _ in range(count):
        batch = walk.attempt("stream", lambda: next(itertools.islice(stream, 1), None), "(the next batch)")
        if batch is None:
            break
        if not isinstance(batch, dict) or not all(isinstance(v, Tensor) for v in batch.values()):
            walk.problem("stream-fails", "expected a batch to be a dict of tensors", f"got {word(batch)}", method="stream")
            raise Broken
        made.append(batch)
        walk.attempt("stream", stream.after_step, "(after_step)")
    if not made:
        walk.problem("stream-fails", "expected stream to give batches; got none", method="stream")
        raise Broken
    return made


def not_storable(state: Any) -> str | None:
    if isinstance(state, dict):
        return next((bad for value in state.values() if (bad := not_storable(value)) is not None), None)
    if isinstance(state, (list, tuple)):
        return next((bad for value in state if (bad := not_storable(value)) is not None), None)
    return None if state is None or isinstance(state, (str, int, float, bool, Tensor)) else word(state)


def starts(walk: Walk) -> None:
    model = walk.fresh()
    walk.attempt("init", lambda: walk.task.init(model, walk.data))


def summed(walk: Walk, model: nn.Module, batch: Batch) -> Tensor:
    """The loss as training computes it: summed totals over summed counts, terms added."""
    output = walk.attempt("forward", lambda: walk.task.outputs(model, batch), "in training mode")
    pairs = walk.losses(output if isinstance(output, dict) else {"": output}, batch)
    return torch.stack([total.sum() / count.sum().clamp(min=1) for total, count in pairs.values()]).sum()


def reaches_all(walk: Walk) -> None:
    """A parameter is dead where no gradient reaches it in training mode, nor in evaluation mode (a layer may be dropped)."""
    if walk.found("loss-averaged", "loss-wrong-shape"):
        raise Broken
    batch = training_batch(walk)
    model = walk.fresh()
    for mode in (True, False):
        loss = summed(walk, model.train(mode), batch)
        if loss.requires_grad:
            loss.backward()
    wanted = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    dead = [name for name, p in wanted if p.grad is None]
    if wanted and len(dead) == len(wanted):
        walk.problem(
            "learns",
            "expected a gradient from the loss to the parameters; none reaches any: no .detach(), no no_grad",
            method="loss",
        )
    elif dead:
        want = "expected a gradient to reach every parameter"
        shown = ", ".join(dead[:3]) + (f" and {len(dead) - 3} more" if len(dead) > 3 else "")
        walk.problem(
            "dead-parameter",
            f"{want}; none reaches {shown}: use it in forward, or remove it, or set requires_grad=False",
            method="model",
        )


def learned(walk: Walk) -> nn.Module | None:
    """A model after a few steps on one small batch, in evaluation mode; None where it learned nothing."""
    return walk.once("learned", lambda: _learned(walk))


def _learned(walk: Walk) -> nn.Module | None:
    with seeded(0):
        batch = walk.encoded(walk.some, "train")
    for rate in (3e-3, 3e-4, 3e-2):
        model = walk.fresh()
        walk.attempt("init", lambda m=model: walk.task.init(m, walk.data))
        parameters = [p for p in model.parameters() if p.requires_grad]
        if not parameters:
            return model.eval()
        optimizer = torch.optim.Adam(parameters, lr=rate)
        first = last = 0.0
        step = 0
        model.train()
        for step in range(STEPS):
            loss = summed(walk, model, batch)
            last = float(loss.detach())
            first = last if step == 0 else first
            if last < first - 0.8 * abs(first):
                break
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        walk.seen["learns"] = f"loss {first:.4g} to {last:.4g} in {step + 1} steps on {length(walk.some)} examples"
        if last < first - 0.05 * abs(first):
            return model.eval()
    return None


def learns(walk: Walk) -> None:
    if walk.found("learns", "loss-averaged", "loss-wrong-shape", "loss-not-finite", "random-loss", "output-not-finite"):
        raise Broken
    if learned(walk) is None:
        want = f"expected {STEPS} steps on one batch of {length(walk.some)} examples to reduce the loss"
        walk.problem(
            "learns", f"{want}", f"{walk.seen['learns']}: does the loss compare the output with the labels?", method="loss"
        )


CHECKS = (augments, draws_from_generator, recommends, resumes, starts, reaches_all, learns)
