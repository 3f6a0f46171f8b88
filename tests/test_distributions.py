"""Distributions over actions against torch.distributions, and draws against their probabilities."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributions as peer

from lamina.decode.actions import Actions
from lamina.nn.distributions import distribution
from lamina.nn.running_norm import RunningNorm


def said(kind: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    if kind == "continuous":
        return {"mean": torch.randn(5, 3, generator=generator), "log_std": torch.randn(5, 3, generator=generator) * 0.3}
    return {{"discrete": "logits", "multi-discrete": "action_logits"}[kind]: torch.randn(5, 6, generator=generator)}


def theirs(kind: str, out: dict[str, torch.Tensor]) -> list[peer.Distribution]:
    if kind == "continuous":
        return [peer.Independent(peer.Normal(out["mean"], out["log_std"].exp()), 1)]
    if kind == "discrete":
        return [peer.Categorical(logits=out["logits"])]
    return [peer.Categorical(logits=part) for part in out["action_logits"].split([2, 4], 1)]


@pytest.mark.parametrize("kind", ["discrete", "multi-discrete", "continuous"])
def test_log_probabilities_and_entropies_are_torchs(kind: str) -> None:
    out, ours = said(kind), distribution(kind, {"discrete": [6], "multi-discrete": [2, 4], "continuous": [3]}[kind])
    action = ours.sample(out, ours.noise((len(next(iter(out.values()))),), torch.Generator().manual_seed(1)))
    others = theirs(kind, out)
    parts = action.unbind(1) if kind == "multi-discrete" else [action]
    want = sum(d.log_prob(a) for d, a in zip(others, parts, strict=True))
    torch.testing.assert_close(ours.log_probability(out, action), want)
    torch.testing.assert_close(ours.entropy(out), sum(d.entropy() for d in others))


def test_draws_follow_their_probabilities() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0, -1e9]]).expand(40_000, 4)
    ours = distribution("discrete", [4])
    drawn = ours.sample({"logits": logits}, ours.noise((40_000,), torch.Generator().manual_seed(0)))
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(shares, logits[0].softmax(0), atol=0.01, rtol=0)
    rngs = [np.random.default_rng(i) for i in range(4000)]
    by_numpy = Actions("discrete", (4,), (0,)).drawn({"logits": logits[:4000].numpy()}, rngs)
    np.testing.assert_allclose(np.bincount(by_numpy, minlength=4) / 4000, logits[0].softmax(0).numpy(), atol=0.03)


def test_entropy_of_what_is_forbidden_is_finite_and_has_a_gradient() -> None:
    logits = torch.tensor([[0.5, -1e9, 0.1]], requires_grad=True)
    distribution("discrete", [3]).entropy({"logits": logits}).sum().backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all() and logits.grad[0, 1] == 0


def test_answers_speak_the_environments_numbers() -> None:
    answers = Actions("discrete", (3,), (-1,), names=("left", "stay", "right"))
    (one,) = answers.answers(lambda arrays: {"logits": np.log([[0.1, 0.2, 0.7]]), "value": np.array([[3.0]])}, {})
    assert one["action"] == 1 and one["probability"] == pytest.approx(0.7) and one["value"] == 3.0
    assert one["probabilities"] == {"left": pytest.approx(0.1), "stay": pytest.approx(0.2), "right": pytest.approx(0.7)}
    (numbers,) = Actions("continuous", (2,), (), (-1.0, None), (1.0, None), (2,)).answers(
        lambda arrays: {"mean": np.array([[7.0, 7.0]])}, {}
    )
    assert numbers == {"action": [1.0, 7.0]}


def test_a_running_norm_is_that_of_all_it_was_shown() -> None:
    rng, norm = torch.Generator().manual_seed(0), RunningNorm((3,))
    x = torch.randn(1000, 3, generator=rng) * torch.tensor([1.0, 10.0, 0.1]) + torch.tensor([0.0, 5.0, -3.0])
    for part in x.split([10, 200, 1, 789]):
        norm.update(part)
    torch.testing.assert_close(norm.mean, x.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(norm.variance, x.var(0, correction=0), atol=1e-4, rtol=1e-4)
    y = norm.train()(x)
    assert y.abs().max() <= 10 and y.std(0).sub(1).abs().max() < 0.05
    torch.testing.assert_close(norm(x), y)  # asked twice, told twice
