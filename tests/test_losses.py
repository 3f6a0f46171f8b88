"""Losses against torch's own, and their contract: sums and counts of each example."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lamina.nn.losses import cross_entropy, squared_error


def test_cross_entropy_equals_torchs_with_numbers_and_with_probabilities():
    torch.manual_seed(0)
    logits, label = torch.randn(6, 4), torch.randint(4, (6,))
    total, count = cross_entropy(logits, label)
    assert torch.allclose(total.sum() / count.sum(), F.cross_entropy(logits, label))
    soft = torch.softmax(torch.randn(6, 4), 1)
    total, count = cross_entropy(logits, soft)
    assert torch.allclose(total, F.cross_entropy(logits, soft, reduction="none")) and count.tolist() == [1.0] * 6


def test_class_weights_weigh_totals_and_counts():
    logits, label, weights = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([0.2, 1.0, 5.0])
    total, count = cross_entropy(logits, label, weights[label])
    assert torch.allclose(total.sum() / count.sum(), F.cross_entropy(logits, label, weight=weights))


def test_smoothing_by_soft_labels_equals_torchs_label_smoothing():
    from lamina.modalities.augment import one_hot

    logits, label = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    total, count = cross_entropy(logits, one_hot(label, 4, 0.1))
    assert torch.allclose(total.sum() / count.sum(), F.cross_entropy(logits, label, label_smoothing=0.1))


def test_squared_error_is_the_mean_squared_error_as_a_sum_over_a_count():
    value, label = torch.randn(5, 2), torch.randn(5, 2)
    total, count = squared_error(value, label)
    assert total.shape == count.shape == (5,)
    assert torch.allclose(total.sum() / count.sum(), F.mse_loss(value, label))
