"""The parts of training, one by one: schedules, plans, optimizers, averages, watching, finding."""

from __future__ import annotations

import copy
import json
import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lamina.errors import LaminaError, MachineFault
from lamina.train.api import alternatives
from lamina.train.average import Average
from lamina.train.budget import Budget, Deadline
from lamina.train.finder import steepest
from lamina.train.log import Log
from lamina.train.loop import due, mixed, training
from lamina.train.optimizers import FusedAdamW, Muon, build, default_groups, orthogonalized, set_rates
from lamina.train.options import Options, check_options
from lamina.train.recipe import Recipe, check_recipe
from lamina.train.schedules import Plan, factor
from lamina.train.watch import Watch


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "linear", "constant"])
def test_a_schedule_peaks_after_the_warm_up_and_never_leaves_its_range(schedule):
    recipe = Recipe(schedule=schedule, warmup=0.25)
    values = [factor(recipe, p / 1000) for p in range(1001)]
    assert max(values) == pytest.approx(1.0, abs=1e-6) and values[250] == pytest.approx(1.0, abs=1e-6)
    assert all(0 <= v <= 1 for v in values)
    assert values[:251] == sorted(values[:251]), "rises through the warm-up"
    if schedule != "constant":
        assert values[250:] == sorted(values[250:], reverse=True) and values[-1] < 1e-3


def test_schedules_equal_torchs():
    """Cosine and one-cycle against torch.optim.lr_scheduler, step by step."""
    steps = 50
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        assert factor(Recipe(schedule="cosine", warmup=0.0), step / steps) == pytest.approx(theirs.get_last_lr()[0], abs=1e-6)
        optimizer.step()
        theirs.step()
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=1001, pct_start=0.3, cycle_momentum=False)
    recipe = Recipe(schedule="one-cycle", warmup=0.3)
    for step in range(1000):
        # torch peaks at step 0.3 * total - 1 and counts total - 1 steps down: the two differ by less than a step or two
        assert factor(recipe, step / 1000) == pytest.approx(cycle.get_last_lr()[0], abs=0.02)
        optimizer.step()
        cycle.step()


def test_no_warm_up_starts_at_the_peak():
    assert factor(Recipe(schedule="linear", warmup=0.0), 0.0) == 1.0


@given(st.integers(2, 500), st.integers(1, 400), st.integers(1, 900))
@settings(max_examples=60, deadline=None)
def test_a_refitted_plan_is_continuous_and_ends_at_one(steps, at, end):
    at = min(at, steps - 1)
    plan = Plan.of(steps)
    changed = plan.refitted(at, end)
    assert changed.progress(at) == pytest.approx(plan.progress(at))
    assert all(changed.progress(s) == plan.progress(s) for s in range(at)), "the past does not change"
    assert changed.progress(changed.steps) == 1.0 and changed.steps >= at + 1
    values = [changed.progress(s) for s in range(changed.steps + 1)]
    assert values == sorted(values)


@given(st.integers(1, 300), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_evaluations_are_evenly_spaced_and_the_last_step_is_one(steps, evaluations):
    plan = Plan.of(steps)
    times = [s for s in range(1, steps + 1) if due(s, plan, evaluations)]
    assert times[-1] == steps
    assert len(times) in (min(steps, evaluations), min(steps, evaluations) + 1)


def test_orthogonalized_singular_values_are_near_one():
    torch.manual_seed(0)
    for shape in ((32, 100), (100, 32), (16, 16)):
        values = torch.linalg.svdvals(orthogonalized(torch.randn(shape), steps=5))
        assert 0.5 < values.median() < 1.3 and values.max() < 1.35


def test_muon_equals_torchs_on_a_matrix():
    """torch.optim.Muon is an independent implementation, for matrices only, with five iterations of its own."""
    torch.manual_seed(0)
    start, gradients = torch.randn(24, 40), [torch.randn(24, 40) for _ in range(4)]
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    mine = Muon([ours], lr=0.05, momentum=0.9, weight_decay=0.1)
    other = torch.optim.Muon([theirs], lr=0.05, momentum=0.9, weight_decay=0.1, nesterov=True)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        mine.step()
        other.step()
    moved = (theirs - start).norm()
    cosine = torch.cosine_similarity((ours - start).flatten(), (theirs - start).flatten(), dim=0)
    assert cosine > 0.98, "the same direction; three iterations against five"
    assert ((ours - start).norm() / moved).item() == pytest.approx(1.0, abs=0.15)


def test_muon_keeps_the_norm_of_filters():
    weight = nn.Parameter(torch.randn(8, 4, 3, 3) * 7)
    optimizer = Muon([{"params": [weight], "unit_rows": True}], lr=1e-8)
    weight.grad = torch.randn_like(weight)
    optimizer.step()
    assert weight.norm().item() == pytest.approx(8**0.5, rel=1e-4)


def test_biases_norms_and_embeddings_do_not_decay():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Conv1d(4, 2, 1))
    decayed, others = default_groups(model, Recipe(weight_decay=0.3))
    assert {id(p) for p in decayed["params"]} == {id(model[1].weight), id(model[3].weight)} and decayed["weight_decay"] == 0.3
    assert {id(p) for p in others["params"]} == {id(p) for p in model.parameters()} - {id(p) for p in decayed["params"]}
    assert others["weight_decay"] == 0.0


def test_muon_gets_hidden_matrices_and_adamw_the_rest():
    model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Linear(8, 3))
    optimizers = build(default_groups(model, Recipe(optimizer="muon")), Recipe(optimizer="muon"), lr=0.02)
    muon = next(o for o in optimizers if isinstance(o, Muon))
    assert {id(p) for g in muon.param_groups for p in g["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert sum(len(g["params"]) for o in optimizers for g in o.param_groups) == len(list(model.parameters()))
    set_rates(optimizers, 0.5)
    assert muon.param_groups[0]["lr"] == pytest.approx(0.01)


def test_the_average_follows_weights_and_batch_statistics():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(model, decay=0.5)
    before = copy.deepcopy(average.model.state_dict())
    with torch.no_grad():
        model[0].weight.add_(1.0)
        model[1].running_mean.add_(3.0)
        model[1].num_batches_tracked.add_(1)
    average.update(model)
    decay = min(0.5, 2 / 11)
    for name, now in model.state_dict().items():
        expected = before[name] * decay + now * (1 - decay) if now.is_floating_point() else now
        assert torch.allclose(average.model.state_dict()[name], expected), name
    assert not torch.equal(average.model[1].running_mean, model[1].running_mean)


def watched(valid_losses, train_losses, patience=None):
    watch = Watch("accuracy", "max", patience)
    said = []
    for step, (v, t) in enumerate(zip(valid_losses, train_losses, strict=True)):
        watch.see(step, t, {"accuracy": 1 - v, "loss": v})
        said.append(watch.overfitting())
    return watch, said


def test_overfitting_is_said_once_with_where_it_began():
    watch, said = watched([0.9, 0.5, 0.4, 0.45, 0.5, 0.6, 0.7], [0.9, 0.6, 0.4, 0.3, 0.2, 0.1, 0.05])
    spoken = [s for s in said if s]
    assert len(spoken) == 1 and "since step 2" in spoken[0] and watch.overfits_since == 2


@pytest.mark.parametrize(
    ("valid", "train"),
    [
        ([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),  # learning
        ([0.9, 0.5, 0.505, 0.5, 0.504, 0.503], [0.9, 0.5, 0.4, 0.3, 0.2, 0.1]),  # a plateau within the noise
        ([0.4, 0.5, 0.6, 0.7, 0.8, 0.9], [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),  # diverging, which is another trouble
        ([0.5], [0.5]),
    ],
)
def test_overfitting_is_not_cried_without_evidence(valid, train):
    assert not any(watched(valid, train)[1])


def test_patience_counts_evaluations_since_the_best_and_ties_go_to_the_lower_loss():
    watch = Watch("accuracy", "max", patience=2)
    assert watch.see(1, 0.5, {"accuracy": 0.9, "loss": 0.3})
    assert watch.see(2, 0.5, {"accuracy": 0.9, "loss": 0.2})
    assert not watch.see(3, 0.5, {"accuracy": 0.9, "loss": 0.25}) and not watch.exhausted()
    assert not watch.see(4, 0.5, {"accuracy": 0.8, "loss": 0.1}) and watch.exhausted() and watch.best_step == 2


def test_a_metric_that_is_not_a_number_is_never_the_best():
    watch = Watch("loss", "min")
    assert not watch.see(1, 0.5, {"loss": math.nan})
    assert watch.see(2, 0.5, {"loss": 0.7})


def test_watching_goes_on_where_it_stopped():
    whole, _ = watched([0.9, 0.5, 0.6], [0.9, 0.5, 0.4])
    half, _ = watched([0.9, 0.5], [0.9, 0.5])
    other = Watch("accuracy", "max")
    other.load_state_dict(half.state_dict())
    other.see(2, 0.4, {"accuracy": 0.4, "loss": 0.6})
    assert other == whole


def test_the_steepest_rate_is_before_the_explosion():
    rates = [10 ** (-6 + 7 * i / 99) for i in range(100)]
    losses = [2 / (1 + (r / 1e-3)) + (r / 0.5) ** 2 for r in rates]
    assert 1e-4 < steepest(rates, losses) < 1e-2


def test_a_loss_that_never_falls_gives_no_rate():
    with pytest.raises(MachineFault, match="--lr auto"):
        steepest([1e-3, 1e-2, 1e-1, 1.0], [1.0, 1.1, 1.2, 1.3])


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=4))
def test_mixed_seeds_are_valid_and_sensitive(numbers):
    seed = mixed(*numbers)
    assert 0 <= seed < 2**63
    assert seed != mixed(*numbers[:-1], numbers[-1] + 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", -1.0), ("lr", math.nan), ("lr", math.inf), ("epochs", -3), ("epochs", 0), ("steps", 0), ("minutes", 0), ("batch_size", 0),
     ("momentum", 1.0), ("warmup", 1.5), ("accumulate", 0), ("clip", 0.0), ("ema", 1.0), ("patience", 0), ("evaluations", 0), ("weight_decay", -1)],
)  # fmt: skip
def test_a_recipe_that_makes_no_sense_is_named(field, value):
    with pytest.raises(LaminaError, match=f"--{field.replace('_', '-')}: expected .* got"):
        check_recipe(Recipe(**{field: value}))


def test_an_option_that_makes_no_sense_is_named():
    with pytest.raises(LaminaError, match="--seed: expected"):
        check_options(Options(seed=-1))
    check_options(Options())
    check_recipe(Recipe())


def test_two_lengths_are_one_too_many():
    with pytest.raises(LaminaError, match="one of --epochs, --steps, --minutes"):
        alternatives({"epochs": 1, "minutes": 2})
    assert alternatives({"minutes": 2})["epochs"] is None


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_the_recipes_rates_reach_groups_that_set_none(optimizer):
    weight = nn.Parameter(torch.ones(2, 2))
    (made,) = build([{"params": [weight]}], Recipe(optimizer=optimizer, momentum=0.5, weight_decay=0.3), 0.1)
    (group,) = made.param_groups
    assert group["weight_decay"] == 0.3
    assert (group["betas"][0] if optimizer == "adamw" else group["momentum"]) == 0.5


def test_beside_muon_adamw_keeps_its_own_momentum():
    groups = [{"params": [nn.Parameter(torch.ones(2, 2))]}, {"params": [nn.Parameter(torch.ones(2))], "optimizer": "adamw"}]
    adamw, _ = build(groups, Recipe(optimizer="muon", momentum=0.6), 0.1)
    assert adamw.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_frozen_norm_keeps_its_statistics():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    model[0].requires_grad_(False)
    training(model)
    model(torch.full((4, 2), 5.0))
    assert model[0].running_mean.tolist() == [0.0, 0.0] and model[1].running_mean.abs().sum() > 0


class Noted:
    """A run that notes its plans."""

    def __init__(self):
        self.plans = []

    def update(self, **values):
        self.plans.append(values["plan"])


def ended(budget, slower, evaluation, monkeypatch):
    """When training under `budget` ends, on a clock of its own, and the plans it made on the way."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    run = Noted()
    deadline, plan, step, evaluating = Deadline(run, budget), budget.plan(), 0, 0.0
    while step < plan.steps:
        clock[0] += 0.5 * slower
        step += 1
        if due(step, plan, budget.evaluations):
            clock[0] += evaluation
            evaluating += evaluation
        plan = deadline.replan(step, plan, evaluating)
    return clock[0], run.plans


@pytest.mark.parametrize(("slower", "evaluation"), [(1.0, 0.0), (2.0, 0.0), (0.7, 0.0), (1.0, 6.0), (1.5, 3.0)])
def test_a_budget_holds_though_steps_take_other_times(slower, evaluation, monkeypatch):
    """A machine that is slower or faster than measured: it ends near the deadline, never late by much."""
    budget = Budget(began=0, end=170, step=0.5, evaluation=evaluation, evaluations=12, answering=0, saving=0)
    end, plans = ended(budget, slower, evaluation, monkeypatch)
    assert 0.93 * 170 <= end <= 1.02 * 170
    assert bool(plans) == (slower != 1.0)


@pytest.mark.parametrize("pace", [0.2, 1.0, 1.5])
def test_real_evaluations_correct_what_answers_were_thought_to_cost(pace, monkeypatch):
    """A model that writes is measured before it has learned to stop: both its evaluations and its test cost a fifth then."""
    budget = Budget(began=0, end=1000, step=0.5, evaluation=25, evaluations=6, answering=300, saving=10)
    end, _ = ended(budget, 1.0, 25 * pace, monkeypatch)
    assert 0.93 * 1000 <= end + 300 * pace + 10 <= 1.02 * 1000


def test_training_gets_its_share_however_much_answers_cost(monkeypatch):
    budget = Budget(began=0, end=100, step=0.5, evaluation=5, evaluations=1, answering=1000, saving=10)
    assert budget.plan().steps == 80
    end, _ = ended(budget, 1.0, 5, monkeypatch)
    assert 39 <= end <= 46


def test_rows_are_json_whatever_the_figures(tmp_path):
    log = Log(tmp_path, tensorboard=False)
    log.row(1, "train", loss=math.inf, gradient_norm=math.nan, rate=1.0)
    log.close()
    row = json.loads((tmp_path / "metrics.jsonl").read_text(), parse_constant=pytest.fail)
    assert row == {"step": 1, "part": "train", "loss": None, "gradient_norm": None, "rate": 1.0}


def test_the_lean_adamw_is_torchs_to_the_bit_and_reads_its_state() -> None:
    torch.manual_seed(0)
    ours, theirs = (torch.nn.Linear(5, 3) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    one = FusedAdamW([{"params": list(ours.parameters()), "betas": (0.8, 0.99)}], 1e-2, 0.1)
    other = torch.optim.AdamW(
        [{"params": list(theirs.parameters()), "betas": (0.8, 0.99)}], lr=1e-2, weight_decay=0.1, fused=True
    )
    for step in range(6):
        x_BD = torch.randn(7, 5)
        for model, optimizer in ((ours, one), (theirs, other)):
            model.zero_grad()
            model(x_BD).square().sum().backward()
            if step in (1, 4):  # a weight without a gradient does not count the step
                model.bias.grad = None
            optimizer.step()
        if step == 2:
            one.load_state_dict(copy.deepcopy(other.state_dict()))
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
