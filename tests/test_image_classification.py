"""What image classification does beyond the contract: answers that are the mean of views, and defaults that fit the data."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import torch

from lamina.data.columns import take
from lamina.data.source import Source
from lamina.tasks.image_classification import ImageClassification


def prepared(channels: int, **fields: object) -> tuple[ImageClassification, torch.nn.Module, dict[str, torch.Tensor]]:
    """A task that knows random pictures, its model with random weights, and a batch of eight."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (80, 16, 16, channels), dtype=np.uint8)
    task = ImageClassification(**fields)  # type: ignore[arg-type]
    data = task.read(Source(data=(pixels.squeeze(), ["a", "b"] * 40)))
    task = task.prepare(data)
    torch.manual_seed(0)
    return task, task.model().eval(), task.encode(take(data.train, range(8)), "predict")


@torch.no_grad()
def test_the_mean_of_two_views_cannot_tell_a_picture_from_its_mirror_image() -> None:
    task, model, batch = prepared(1, views="mirror", mirror="on")
    mirrored = {"image": batch["image"].flip(3)}
    torch.testing.assert_close(task.logits(model, batch), task.logits(model, mirrored))
    alone = dataclasses.replace(task, views="one")
    both = (alone.logits(model, batch) + alone.logits(model, mirrored)) / 2
    torch.testing.assert_close(task.logits(model, batch), both)
    assert not torch.allclose(alone.logits(model, batch), alone.logits(model, mirrored))
    assert torch.equal(task.target(model, batch)["label"], task.logits(model, batch).argmax(1))


@torch.no_grad()
def test_one_view_where_a_mirror_image_is_another_class() -> None:
    task, model, batch = prepared(1, views="mirror", mirror="off")
    assert torch.equal(task.logits(model, batch), model(batch["image"])["logits"])


def test_colour_takes_more_filters_than_gray() -> None:
    widths = [[block.conv1.out_channels for block in prepared(channels)[1].blocks] for channels in (1, 3)]  # type: ignore[union-attr]
    assert widths == [[64, 128, 256], [64, 256, 256]]


def test_a_run_builds_the_network_that_it_was_trained_with() -> None:
    """Whatever the defaults are by then: here they were narrower, and before that nothing was written down."""
    task, _, _ = prepared(3)
    kept = json.loads(json.dumps(task.state())) | {"architecture": {"widths": [8, 16, 24]}}
    assert [block.conv1.out_channels for block in ImageClassification().with_state(kept).model().blocks] == [8, 16, 24]  # type: ignore[union-attr]
    of_the_first_days = ImageClassification().with_state(kept | {"architecture": None})
    assert of_the_first_days.model().state_dict().keys() == task.model().state_dict().keys()
