"""A model asked about many examples: answer.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lamina.answer import Once, by_term, loss_of


def test_one_call_for_equal_inputs_and_another_for_changed_ones() -> None:
    asked: list[float] = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        asked.append(float(x.sum()))
        return x * 2

    once = Once(forward)
    x = torch.tensor([1.0, float("nan")]).nan_to_num(7.0)
    assert torch.equal(once(x), once(x.clone())) and asked == [8.0]
    x[1] = 0.0  # as a decoder writes into its own input
    assert torch.equal(once(x), torch.tensor([2.0, 0.0])) and asked == [8.0, 1.0]
    assert [float(once(x * k).sum()) for k in (1, 2, 3)] == [2.0, 4.0, 6.0]


def test_missing_values_do_not_cost_a_second_call() -> None:
    calls: list[int] = []
    once = Once(lambda x: calls.append(1) or x)  # type: ignore[func-returns-value]
    x = torch.tensor([[1.0, float("nan")]])
    once(x)
    once(x)
    assert len(calls) == 1


def test_terms_are_averaged_each_by_its_own_count() -> None:
    box = torch.tensor([0.0, 3.0]), torch.tensor([0.0, 1.0])
    kind = torch.tensor([10.0, 2.0]), torch.tensor([1.0, 1.0])
    total, count = by_term({"box": box, "class": kind})
    assert loss_of({"loss_total": total.numpy(), "loss_count": count.numpy()}) == pytest.approx(3 / 1 + 12 / 2)
    total, count = by_term(kind)
    assert loss_of({"loss_total": total.numpy(), "loss_count": np.asarray(count)}) == pytest.approx(6.0)
