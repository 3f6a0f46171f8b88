"""Mirroring is found harmless or harmful from the data alone."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from lamina.modalities.symmetry import survives_mirroring


def test_digits_do_not_survive_mirroring():
    digits = load_digits()
    assert not survives_mirroring((digits.images * 15.9).astype(np.uint8)[:, None], digits.target)


def test_pictures_told_apart_by_their_rows_do():
    """Each class is a bright row; where along the row does not matter."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 200)
    pictures = rng.integers(0, 60, (200, 3, 12, 12), dtype=np.uint8)
    pictures[np.arange(200), :, labels * 3] += 120
    assert survives_mirroring(pictures, labels)


def test_pictures_told_apart_by_their_side_do_not():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    pictures = rng.integers(0, 60, (200, 1, 12, 12), dtype=np.uint8)
    pictures[labels == 0, :, :, :4] += 120
    pictures[labels == 1, :, :, 8:] += 120
    assert not survives_mirroring(pictures, labels)


def test_a_single_picture_is_no_reason_to_crash():
    survives_mirroring(np.zeros((1, 1, 4, 4), dtype=np.uint8), np.array(["a"]))
