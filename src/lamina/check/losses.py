"""The loss: sums and counts of single examples, so that totals can be added over batches, accumulation and machines.

Legend: B examples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.check.problem import Broken
from lamina.check.walk import Walk, row, same, seeded

LOOSE = ("loss-averaged", "loss-wrong-shape", "random-loss", "loss-not-finite")


def is_finite(walk: Walk) -> None:
    terms = walk.losses(walk.output, walk.batch)
    if walk.found("output-not-finite"):
        raise Broken
    for name, (total, count) in terms.items():
        label = f"term {name!r}" if name else "loss"
        if not bool(torch.isfinite(total).all()):
            walk.problem(
                "loss-not-finite", f"expected the totals of {label} to be finite", f"got {total.tolist()}", method="loss"
            )
        if not bool((torch.isfinite(count.double()) & (count >= 0)).all()):
            walk.problem(
                "loss-not-finite",
                f"expected the counts of {label} to be finite and not negative; got {count.tolist()}",
                method="loss",
            )
        items, summed = float(count.sum()), float(total.sum())
        per_item = f"{summed / max(items, 1):.4g} an item over {items:g} items"
        walk.seen["loss"] = ", ".join(filter(None, (walk.seen.get("loss"), f"{name} {per_item}".strip())))


def is_not_random(walk: Walk) -> None:
    with seeded(1):
        one = walk.losses(walk.output, walk.batch)
    with seeded(2):
        two = walk.losses(walk.output, walk.batch)
    if any(not same(a, b) for name in one for a, b in zip(one[name], two[name], strict=True)):
        want = "expected the same loss for the same output and batch"
        walk.problem("random-loss", f"{want}; two calls differ: noise and masks belong in the batch", method="loss")


def counts_batch_alone(walk: Walk) -> None:
    if walk.found(*LOOSE):
        raise Broken
    terms = walk.losses(walk.output, walk.batch)
    for other in (lambda v: v.flip(0) * -2 + 1, lambda v: v * 0 + 1000, lambda v: v * 0):
        output = {name: other(v) if v.is_floating_point() else v for name, v in walk.output.items()}
        try:
            changed = walk.losses(output, walk.batch)
        except Broken:  # the loss takes the model's own output, which is all that it has to
            walk.problems = [p for p in walk.problems if p.name != "loss-fails"]
            continue
        for name, (_, count) in terms.items():
            if name not in changed or not same(count, changed[name][1]):
                want = "expected the counts to depend on the batch alone"
                walk.problem(
                    "counts-depend-on-output", f"{want}; they changed with the output: count items of the labels", method="loss"
                )
                return


def keeps_rows_apart(walk: Walk) -> None:
    """Each row's loss in the batch, against the same row's loss by itself."""
    if walk.task.coupled or walk.found(*LOOSE):
        raise Broken
    terms = walk.losses(walk.output, walk.batch)
    singles = [walk.losses(row(walk.output, i), row(walk.batch, i), "on one row") for i in range(walk.count)]
    for name, (total_B, count_B) in terms.items():
        single_B = torch.cat([s[name][0] for s in singles])
        counted_B = torch.cat([s[name][1] for s in singles])
        if not same(count_B, counted_B):
            want = "expected the count of a row to depend on that row alone"
            walk.problem(
                "loss-rows-leak",
                f"{want}; counts are {count_B.tolist()} in a batch and {counted_B.tolist()} alone",
                method="loss",
            )
        elif not same(total_B, single_B):
            if averaged(total_B, single_B, count_B):
                want = "expected the total of each row to be the sum of its own items"
                got = f"in a batch of {walk.count} rows the totals are a mean or a share of it"
                walk.problem("loss-averaged", f"{want}", f"{got}: use reduction='none', and divide by nothing", method="loss")
            else:
                want = "expected the loss of a row to depend on that row alone, since the task is not coupled"
                walk.problem("loss-rows-leak", f"{want}; it differs when the row is alone", method="loss")


def averaged(total_B: Tensor, single_B: Tensor, count_B: Tensor) -> bool:
    """Whether totals look like shares of a batch's mean: all equal, or divided by the rows or items of the batch."""
    rows, items = len(total_B), count_B.sum().clamp(min=1)
    if same(total_B, total_B[:1].expand(rows)) and not same(single_B, single_B[:1].expand(rows)):
        return True
    return any(same(total_B * n, single_B * m) for n in (rows, items) for m in (1, count_B))


def grows_with_count(walk: Walk) -> None:
    """With the same output everywhere, a row of more items has a larger total: else it is a mean over the items."""
    if walk.found("loss-rows-leak", "counts-depend-on-output", *LOOSE):
        raise Broken
    output = {name: v * 0 if v.is_floating_point() else v for name, v in walk.output.items()}
    try:
        terms = walk.losses(output, walk.batch)
    except Broken:  # zeros are no output of this model
        walk.problems = [p for p in walk.problems if p.name != "loss-fails"]
        return
    for total_B, count_B in terms.values():
        some = count_B > 0
        total, count = total_B[some], count_B[some]
        if (
            len(total) > 1
            and same(total, total[:1].expand(len(total)))
            and float(total[0]) > 0
            and float(count.max()) > float(count.min())
        ):
            want = "expected the total of a row to be the sum over its items"
            got = f"counts are {count.tolist()}, and with the same output everywhere every total is {float(total[0]):.4g}"
            walk.problem("loss-averaged", f"{want}; {got}: a mean over the items is not a sum", method="loss")


CHECKS = (is_finite, is_not_random, counts_batch_alone, keeps_rows_apart, grows_with_count)
