"""Every task beats its floor on small real data in seconds: running is not learning.

A floor stands well below what the defaults reach and well above what a broken model could.
"""

from __future__ import annotations

import pytest

import lamina
from lamina.find import task_names

FLOORS = {
    # The digits of scikit-learn, 8x8: guessing gives 0.10, logistic regression 0.96.
    "image-classification": ({"epochs": 6}, {"accuracy": 0.97}),
    # Breast cancer, 30 columns: the larger class has 0.63.
    "tabular": ({"epochs": 25}, {"accuracy": 0.92}),
    # Paragraphs of Python's help by chapter: the largest of seven has 0.29.
    "text-classification": ({"epochs": 20}, {"accuracy": 0.5}),
    # Python's help, character by character: how often each occurs gives 4.6 bits a byte.
    "text-generation": ({"steps": 150, "width": 64, "depth": 2, "context": 64}, {"bits_per_byte": 3.6}),
    # Names of numbers, a word each: the share of those that are right to the letter. A copy of the source has none.
    "translation": ({"epochs": 12}, {"bleu": 50.0}),
    # A pole on a cart: random play keeps it up for 22 steps of 500.
    "dqn": ({"timesteps": 10_000, "width": 64, "threads": 1}, {"return": 80.0}),
    "ppo": ({"timesteps": 20_000, "envs": 8, "rollout": 64, "lr": 1e-3, "threads": 1}, {"return": 150.0}),
}


@pytest.mark.parametrize("name", task_names())
def test_learns(name, tmp_path):
    settings, floors = FLOORS[name]
    run = lamina.train(name, out=str(tmp_path / "run"), quiet=True, tensorboard=False, **settings)
    for metric, floor in floors.items():
        value = run.info["metrics"][metric]["value"]
        assert value <= floor if (metric, "min") == run.task.headline else value >= floor


@pytest.mark.parametrize("network", ["mlp", "resnet20", "convnext-atto", "convnet"])
def test_every_family_of_networks_learns_the_digits(network, tmp_path):
    settings = {"epochs": 2} if network == "convnext-atto" else {"epochs": 4}
    run = lamina.train(
        "image-classification",
        model_name=network,
        out=str(tmp_path / "run"),
        quiet=True,
        tensorboard=False,
        evaluations=2,
        **settings,
    )
    assert run.info["metrics"]["accuracy"]["value"] >= 0.6
