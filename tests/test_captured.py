"""A function as one graph: the same answers, the weights of the time of the call, and never a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from lamina.data.source import Source
from lamina.tasks.dqn import DQN
from lamina.tasks.ppo import PPO
from lamina.train.captured import COMPARED, KINDS, Captured, simplify
from lamina.train.loop import Learner
from lamina.train.optimizers import build
from lamina.train.precision import undisturbed


def is_graph(captured: Captured) -> list[bool]:
    return [graph is not None for graph in captured.graphs.values()]


def squares(model: nn.Module, x_BD: Tensor) -> tuple[Tensor, ...]:
    loss = model(x_BD).square().mean()
    weights = list(model.parameters())
    return loss, *torch.autograd.grad(loss, weights)


def test_a_graph_gives_the_functions_gradients_with_the_weights_of_the_day() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    graph = Captured(lambda x: squares(model, x), [model])
    for _ in range(COMPARED + 3):
        x_BD = torch.randn(5, 3)
        for said, want in zip(graph(x_BD), squares(model, x_BD), strict=True):
            torch.testing.assert_close(said, want)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn_like(weight))
    assert is_graph(graph) == [True]


def test_every_call_ends_in_the_bits_of_the_function() -> None:
    """Resuming to the bit depends on it: who goes on begins with a first call."""
    torch.manual_seed(0)
    model = nn.LSTMCell(4, 8)

    def through_time(x_TBD: Tensor) -> tuple[Tensor, ...]:
        state = None
        for x_BD in x_TBD:
            state = model(x_BD, state)
        assert state is not None
        loss = state[0].square().sum()
        return loss, *torch.autograd.grad(loss, list(model.parameters()))

    graph, x_TBD = Captured(through_time, [model]), torch.randn(6, 16, 4)
    want = through_time(x_TBD)
    for _ in range(COMPARED + 4):
        assert all(torch.equal(said, right) for said, right in zip(graph(x_TBD), want, strict=True))
    assert is_graph(graph) == [True]


def test_what_a_norm_has_seen_is_counted_once_a_call() -> None:
    model, alone = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    graph = Captured(lambda x: (model(x),), [model])
    for _ in range(COMPARED + 2):
        x_BD = torch.randn(6, 3) + 1
        torch.testing.assert_close(graph(x_BD)[0], alone(x_BD))
        torch.testing.assert_close(model.running_mean, alone.running_mean)
    assert is_graph(graph) == [True] and int(model.num_batches_tracked) == COMPARED + 2  # type: ignore[arg-type]


def test_a_branch_on_a_value_is_never_taken_for_all() -> None:
    graph = Captured(lambda x: (x * 2 if float(x.sum()) > 0 else x * 3,))
    for value in (1.0, -1.0, 1.0, -2.0):
        assert graph(torch.tensor([value]))[0].item() == value * (2 if value > 0 else 3)
    assert is_graph(graph) == [False]


def test_a_branch_that_hides_is_found_by_comparing() -> None:
    count = [0]

    def odd_and_even(x: Tensor) -> tuple[Tensor]:
        count[0] += 1
        return (x + count[0],)

    graph = Captured(odd_and_even)
    graph(torch.zeros(1))
    assert is_graph(graph) == [False]


def test_what_is_drawn_at_random_is_called_as_it_is() -> None:
    model = nn.Dropout(0.5)
    graph = Captured(lambda x: (model(x),), [model])
    first, second = graph(torch.ones(100))[0], graph(torch.ones(100))[0]
    assert is_graph(graph) == [False] and not torch.equal(first, second)
    model.eval()
    assert torch.equal(graph(torch.ones(100))[0], torch.ones(100))  # another mode is another graph


def test_sizes_without_end_are_not_written_down() -> None:
    graph = Captured(lambda x: (x + 1,))
    for size in range(1, KINDS + 4):
        assert torch.equal(graph(torch.zeros(size))[0], torch.ones(size))
    assert sum(is_graph(graph)) == KINDS


@pytest.mark.parametrize("task", [PPO(envs=4, rollout=32), DQN(warm_up=64, dueling=True, distribution="quantile", atoms=5)])
def test_a_captured_step_is_the_step(task: PPO | DQN) -> None:
    def learner() -> Learner:
        torch.manual_seed(0)
        data = task.read(Source("CartPole-v1"))
        known = task.prepare(data)
        model, recipe = known.model(), known.recipe(data)
        stream = known.stream(model, data.train, 64, 0, lambda: 0.5)
        optimizers = build(known.groups(model, recipe), recipe, 1e-3)
        return Learner(known, model, model, optimizers, stream, recipe, 0, torch.device("cpu"), "float32")

    one, other = learner(), learner()
    other.graph = None
    for step in range(COMPARED + 4):
        assert one.step(step, 0.5) == pytest.approx(other.step(step, 0.5), rel=1e-4)
    assert one.graph is not None and is_graph(one.graph) == [True]
    for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_numbers_that_fade_are_zero_while_training_and_not_after() -> None:
    tiny = torch.tensor([1e-40])
    with undisturbed():
        assert tiny.mul(1.0).item() == 0
    assert tiny.mul(1.0).item() != 0


def operations(function: Callable[..., Any], *tensors: Tensor) -> tuple[fx.GraphModule, int]:
    """A function written down and simplified, and how many operations are left."""
    made = make_fx(function)(*tensors)
    simplify(made.graph)
    made.recompile()
    return made, sum(node.op == "call_function" for node in made.graph.nodes)


def test_what_is_computed_twice_is_computed_once_and_what_is_undone_is_not_done() -> None:
    x_BD = torch.randn(3, 4)
    made, count = operations(lambda x: (x.log_softmax(1).detach() + x.log_softmax(1).t().t(),), x_BD)
    assert count == 2
    assert torch.equal(made(x_BD)[0], 2 * x_BD.log_softmax(1))


def test_what_is_changed_in_place_is_never_taken_for_what_it_was() -> None:
    def changes(x_BD: Tensor) -> tuple[Tensor, ...]:
        one, other = x_BD.exp(), x_BD.exp()  # one of them is changed, by a view of it
        before = one.sum()
        one[0].zero_()
        return one, other, before, one.sum()

    x_BD = torch.randn(3, 4)
    made, _ = operations(changes, x_BD)
    for said, want in zip(made(x_BD), changes(x_BD), strict=True):
        assert torch.equal(said, want)


def test_the_simpler_graph_of_a_step_ends_in_the_same_bits() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    x_BD, weights = torch.randn(5, 3), tuple(p.detach().requires_grad_() for p in model.parameters())

    def step(x_BD: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        said = torch.func.functional_call(model, dict(zip(dict(model.named_parameters()), weights, strict=True)), x_BD)
        p = said.softmax(1)
        p = torch.minimum(p, p.clamp(0.2, 0.8)) * said.log_softmax(1)
        return torch.autograd.grad(p.sum(), weights)

    made, count = operations(step, x_BD, *weights)
    untouched = make_fx(step)(x_BD, *weights)
    assert count < sum(node.op == "call_function" for node in untouched.graph.nodes) - 10
    for said, want in zip(made(x_BD, *weights), step(x_BD, *weights), strict=True):
        assert torch.equal(said, want)
