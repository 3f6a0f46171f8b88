"""Asking a model about many examples: encode, predict and loss in batches, over any Forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from lamina.data.columns import length, rows_of, take
from lamina.task import Batch, Columns, Forward, Output, Task, Writes

if TYPE_CHECKING:
    import numpy as np
    import torch

EVALUATION_BATCH = 250
"""Examples a batch when nothing is learned: large enough for throughput, small enough for the caches of a CPU."""


def answer(
    task: Task,
    forward: Forward,
    columns: Columns,
    batch_size: int = EVALUATION_BATCH,
    advance: Callable[[int], None] | None = None,
) -> tuple[dict[str, float], Columns]:
    """Metrics and predictions over `columns`, which hold labels.

    The predictions carry two more columns, `loss_total` and `loss_count`, one value an example and term, from which `loss` is
    summed loss over summed count. `advance(n)` is called after every batch, for a progress bar.
    """
    import numpy as np
    import torch

    predictions: list[dict[str, Any]] = []
    totals: list[torch.Tensor] = []
    counts: list[torch.Tensor] = []
    with torch.inference_mode():
        for start in range(0, length(columns), batch_size):
            rows = take(columns, np.arange(start, min(start + batch_size, length(columns))))
            batch = task.encode(rows, "evaluate")
            once = Once(forward)
            predictions += task.predict(once, batch)
            total_B, count_B = by_term(task.loss(once(*[batch[i.name] for i in task.inputs]), batch))
            totals.append(total_B.cpu())
            counts.append(count_B.cpu())
            if advance:
                advance(length(rows))
    said = rows_of(predictions)
    if not predictions:
        return {}, said
    said["loss_total"] = torch.cat(totals).double().numpy()  # type: ignore[assignment]
    said["loss_count"] = torch.cat(counts).double().numpy()  # type: ignore[assignment]
    return {**task.metrics(columns, said), "loss": loss_of(said)}, said


def loss_of(predictions: Columns) -> float:
    """Summed loss over summed count, added over the terms: the same whatever the batches were."""
    import numpy as np

    totals, counts = np.sum(predictions["loss_total"], axis=0), np.sum(predictions["loss_count"], axis=0)
    return float(np.sum(totals / np.maximum(counts, 1e-12)))


def by_term(loss: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Totals and counts: (B,) of a plain loss, (B, T) of one with T terms."""
    import torch

    if not isinstance(loss, dict):
        return loss
    totals, counts = zip(*loss.values(), strict=True)
    return torch.stack(totals, 1), torch.stack(counts, 1)


class Once:
    """A Forward that remembers its last call, so that predict and loss on one batch cost one forward."""

    def __init__(self, forward: Forward) -> None:
        self.forward = forward
        self.inputs: list[torch.Tensor] = []
        self.said: Output | None = None

    def __call__(self, *inputs: Any) -> Output:
        if self.said is None or not same(self.inputs, inputs):
            self.inputs = [x.clone() for x in inputs]  # kept whole: a decoder may write into what it gave
            self.said = self.forward(*inputs)
        return self.said

    @property
    def inner(self) -> Forward:
        """What it asks: whoever writes token by token asks that."""
        return self.forward


def tempered(forward: Forward, temperature: float) -> Forward:
    """A Forward whose `logits` are divided by `temperature` (Guo et al. 2017, section 4.2): which label leads never changes.

    What writes token by token says `token_logits`, and stays as it is.
    """
    if temperature == 1.0 or isinstance(cast("object", forward), Writes):
        return forward

    def calibrated(*inputs: Any) -> Output:
        said = forward(*inputs)
        if isinstance(said, dict) and "logits" in said:
            return {**said, "logits": said["logits"] / temperature}
        return said

    return calibrated


def same(some: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> bool:
    """Whether tensors are equal to the bit; a value that is not a number equals itself."""
    import torch

    return len(some) == len(others) and all(
        a.dtype == b.dtype
        and a.shape == b.shape
        and torch.equal(a.contiguous().reshape(-1).view(torch.uint8), b.contiguous().reshape(-1).view(torch.uint8))
        for a, b in zip(some, others, strict=True)
    )


def counted_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of what `call` computes, 2 a multiply-add: matrix products and convolutions, as they run.

    Attention is counted as the matrix products that it is made of: of its fused kernel on a processor, and of the one of
    `nn.TransformerEncoder`, torch's counter knows nothing; nor of a processor's LSTM, which is counted here.
    """
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_rnn_layer: recurrent_flops})
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # With gradients on: without, the counter stumbles over a module that returns a view of its own parameter.
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            call()
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return counter.get_total_flops()


def recurrent_flops(x: Sequence[int], weight_ih: Sequence[int], weight_hh: Sequence[int], *rest: Any, **named: Any) -> int:
    """Of a recurrent kernel over the tokens x (T, B, D), whose gates have weights of these shapes."""
    import math

    return 2 * math.prod(x[:-1]) * (math.prod(weight_ih) + math.prod(weight_hh))


def class_names(task: Task, columns: Columns, label_N: np.ndarray, classes: int) -> list[str]:
    """Names of the K classes: of the column whose values stand one to one with the class numbers; else the numbers."""
    import numpy as np

    for name, column in columns.items():
        if name in task.asks or name == "path":
            continue
        values = [column[i] for i in range(len(label_N))]
        if not values or not isinstance(values[0], (str, int, np.str_, np.integer)):
            continue
        pairs = {(int(k), str(v)) for k, v in zip(label_N.tolist(), values, strict=True)}
        if len(pairs) == len({k for k, _ in pairs}) == len({v for _, v in pairs}):
            named = dict(pairs)
            return [named.get(k, str(k)) for k in range(classes)]
    return [str(k) for k in range(classes)]


def to_device(batch: Batch, device: torch.device) -> Batch:
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}
