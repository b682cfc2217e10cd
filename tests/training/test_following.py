"""A rate that follows unseen data: forks on the same batches, cooled down, judged, and gone on with."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.small import examples
from torch import nn
from torch.nn.functional import mse_loss

import stepsize
from stepsize.errors import InputError
from stepsize.training import Followed, Task, follow
from stepsize.training.batches import Stream
from stepsize.training.population.following import _chosen, _lower, _reason, _stages
from stepsize.training.position import preserved
from stepsize.training.rng import RngState
from stepsize.training.stepping import build_model, rung_factors


def make(**others: Any) -> Task:
    x, y = examples(96)
    given: dict[str, Any] = {
        "model": lambda: nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)), "loss": mse_loss,
        "train": (x[:64], y[:64]), "val": (x[64:], y[64:]), "optimizer": "adam", "steps": 160, "batch_size": 16,
        "schedule": "cosine", "name": "plane",
    }  # fmt: skip
    return Task(**(given | others))


class Twin:
    """The same training with plain torch: a copy of model and optimizer a fork, one after the other."""

    def __init__(self, task: Task, lr: float, seed: int) -> None:
        self.task, self.lr = task, lr
        self.factors = rung_factors(task, task.horizon)
        with preserved(seed=seed):
            self.model = build_model(task)
            stream = Stream(task.train)
            self.batches = [next(stream) for _ in range(2 * task.horizon)]
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)
        self.step, self.times = 0, 1.0
        self.found: list[list[float]] = []

    def fork(self, times: float, steps: int, cooldown: int) -> tuple[Any, float]:
        model, optimizer = copy.deepcopy((self.model, self.optimizer))
        for step in range(self.step, self.step + steps):
            self.update(model, optimizer, step, times * self.factors[step])
        cool, cool_optimizer = copy.deepcopy((model, optimizer))
        last = self.factors[self.step + steps - 1]
        for number in range(cooldown):
            left = 1 - (number + 1) / (cooldown + 1)
            self.update(cool, cool_optimizer, self.step + steps + number, times * last * left)
        with torch.no_grad():
            x, y = examples(96)
            return (model, optimizer), float(mse_loss(cool(x[64:]), y[64:]))

    def update(self, model: nn.Module, optimizer: Any, batch: int, factor: float) -> None:
        x, y = self.batches[batch]
        optimizer.param_groups[0]["lr"] = self.lr * factor
        optimizer.zero_grad()
        mse_loss(model(x), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def decide(self, tried: Sequence[float], steps: int, *, wide: bool, before: float) -> int:
        forks = [self.fork(self.times * times, steps, max(4, round(steps / 2))) for times in tried]
        values = [value for _, value in forks]
        place = _lower(values, before) if wide else _chosen(values, before)
        self.found.append(values)
        (self.model, self.optimizer), self.times = forks[place][0], self.times * tried[place]
        self.step += steps
        return place


def test_it_does_what_plain_torch_does_fork_by_fork() -> None:
    task = make()
    found = follow(task, 1e-4, decisions=2, seed=5)

    twin = Twin(task, 1e-4, 5)
    x, y = examples(96)
    with torch.no_grad():
        before = float(mse_loss(twin.model(x[64:]), y[64:]))
    stages = list(_stages(task.horizon, 2))
    place = twin.decide([4.0**power for power in range(-3, 4)], stages[0][0], wide=True, before=before)
    times = [twin.times]
    for forked, alone in stages[1:]:
        place = twin.decide([0.5, 1.0, 2.0], forked, wide=False, before=twin.found[-1][place])
        times.append(twin.times)
        for step in range(twin.step, twin.step + alone):
            twin.update(twin.model, twin.optimizer, step, twin.times * twin.factors[step])
        twin.step += alone

    assert [one.lr for one in found.decisions] == pytest.approx([1e-4 * value for value in times])
    for one, values in zip(found.decisions, twin.found, strict=True):
        assert [value for _, value in one.tried] == pytest.approx(values, rel=1e-3)
    with torch.no_grad():
        assert found.run.val_loss == pytest.approx(float(mse_loss(twin.model(x[64:]), y[64:])), rel=1e-3)


@functools.cache
def best() -> float:
    return min(stepsize.train(make(), lr, seed=0).val_loss for lr in (1e-3, 3e-3, 1e-2, 3e-2, 0.1))


@pytest.mark.parametrize(("start", "optimizer"), [(1e-4, "adam"), (1.0, "adam"), (1e-3, "sgd"), (5.0, "sgd")])
def test_from_far_too_low_and_far_too_high_it_gets_near_the_best(start: float, optimizer: str) -> None:
    task = make(optimizer=optimizer)
    untrained = stepsize.train(task, 1e-12, seed=0).val_loss
    fixed, found = stepsize.train(task, start, seed=0), follow(task, start, seed=0)
    lost = min(untrained, fixed.val_loss)
    assert found.run.divergence is None
    assert (lost - found.run.val_loss) / (lost - best()) > 0.9


def test_rates_and_losses_are_those_of_what_remained() -> None:
    task = make()
    found = follow(task, 1e-4, seed=0)
    assert found.run.losses.shape == found.lrs.shape == (160,)
    factors = np.array(rung_factors(task, 160))
    first, _ = next(_stages(160, 8))
    assert found.lrs[:first] == pytest.approx(found.decisions[0].lr * factors[:first])
    assert found.lrs[-1] == pytest.approx(found.lr * factors[-1])
    assert all(len(one.tried) == (7 if number == 0 else 3) for number, one in enumerate(found.decisions))
    assert 2 < found.cost < 5
    assert found.run.model is not None


def test_its_cost_counts_forks_cooldowns_and_every_look_at_unseen_data() -> None:
    task = make()  # 160 updates on batches of 16; the 32 examples of unseen data are two forward passes
    stages = list(_stages(160, 8))
    passes = 2.0  # before training
    for number, (forked, alone) in enumerate(stages):
        members = 3 if number else 7
        cooldown = max(4, round(forked / 2))
        passes += members * (3 * (forked + cooldown) + 2) + 3 * alone
    passes += 2.0  # at the end
    found = follow(task, 1e-4, seed=0)
    assert found.run.passes == pytest.approx(passes)
    assert found.cost == pytest.approx(passes / (3 * 160 + 2))


def test_it_leaves_generators_and_data_as_they_were() -> None:
    task = make()
    before = RngState.take()
    first = follow(task, 1e-3, seed=1)
    assert torch.equal(torch.get_rng_state(), before.torch)
    again = follow(task, 1e-3, seed=1)
    assert first.run.losses.tolist() == again.run.losses.tolist()
    assert [one.lr for one in first.decisions] == [one.lr for one in again.decisions]


def test_a_training_that_is_lost_goes_back_and_says_so() -> None:
    found: Followed = follow(make(optimizer="sgd", schedule="constant"), 3e4, seed=0)
    retreats = [one for one in found.decisions if "rolled back to the last good decision" in one.reason]
    assert retreats
    assert found.run.divergence is None
    assert found.lr < 3e4
    told = found.to_json()
    assert len(told["decisions"]) == len(found.decisions)
    assert told["full_runs"] == found.cost


def test_dropout_batch_norm_and_clipping_go_along() -> None:
    net = lambda: nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))  # noqa: E731
    found = follow(make(model=net, clip=1.0, accumulate=2), 1e-4, seed=0)
    assert found.run.val_loss < 0.5
    assert found.lr > 1e-3


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"lr": 0.0}, "lr must be a positive, finite learning rate"),
        ({}, {"lr": math.nan}, "lr must be a positive, finite learning rate"),
        ({}, {"lr": 0.1, "decisions": 0}, "decisions must be a whole number, at least 1"),
        ({"val": None}, {"lr": 0.1}, "must have validation data, which select the rate"),
        ({"steps": 39}, {"lr": 0.1}, "must have at least 40 steps to be followed"),
    ],
)
def test_bad_input_is_told(changes: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        follow(make(**changes), **arguments)


class Own(torch.optim.Adam):
    """An optimizer that a population does not know, so that its members are trained one after the other."""


def test_what_cannot_be_stacked_follows_too() -> None:
    stacked = follow(make(), 1e-4, seed=0)
    apart = follow(make(optimizer=lambda parameters, lr: Own(parameters, lr=lr)), 1e-4, seed=0)
    assert [one.lr for one in apart.decisions] == [one.lr for one in stacked.decisions]
    assert apart.run.losses == pytest.approx(stacked.run.losses, rel=1e-3)
    assert apart.run.val_loss == pytest.approx(stacked.run.val_loss, rel=1e-3)
    assert apart.cost == stacked.cost


def test_an_optimizer_that_averages_is_judged_by_its_average() -> None:
    pytest.importorskip("schedulefree")
    found = follow(make(optimizer="schedule-free-adamw", schedule="constant"), 1e-4, seed=0)
    assert found.lr > 1e-3
    assert found.run.val_loss < 0.5


def test_as_good_is_not_worth_moving_for() -> None:
    assert _chosen([0.5, 0.41, 0.40], before=1.0) == 1  # 0.01 of a gain of 0.6
    assert _chosen([0.5, 0.45, 0.40], before=1.0) == 2
    assert _chosen([0.40, 0.45, 0.5], before=0.3) == 0  # everything got worse: the least bad
    assert _chosen([math.inf, math.inf, 0.4], before=0.3) == 2


def test_the_wide_fork_steps_back_from_the_best_but_not_from_the_edge() -> None:
    assert _lower([0.9, 0.5, 0.3, 0.8], before=1.0) == 1
    assert _lower([0.9, 0.5, 0.301, 0.3], before=1.0) == 1  # the third is as good as the fourth
    assert _lower([0.9, 0.8, 0.7, 0.3], before=1.0) == 3
    assert _lower([0.3, 0.8, math.inf, math.inf], before=1.0) == 0


def test_the_reason_calls_best_only_what_is() -> None:
    rates = [0.001, 0.002, 0.004]
    assert _reason(rates, [0.5, 0.4, 0.45], 1).startswith("lr 0.002 was best after a cooldown, 0.4; the second best")
    assert _reason(rates, [math.inf, 0.4, math.inf], 1).endswith("0.4; the others diverged.")
    assert _reason(rates, [0.5, 0.41, 0.4], 1) == (
        "lr 0.002 was chosen, 0.41 after a cooldown; lr 0.004 reached 0.4, too little to move for."
    )
    assert "but so short a fork prefers rates that are too high" in _reason(rates * 2 + [1.0], [5, 4, 1, 2, 3, 4, 5], 1)


@pytest.mark.parametrize("steps", [40, 100, 401, 5000])
@pytest.mark.parametrize("decisions", [1, 3, 8, 50])
def test_stages_make_up_the_training(steps: int, decisions: int) -> None:
    stages = list(_stages(steps, decisions))
    assert sum(forked + alone for forked, alone in stages) == steps
    assert all(forked >= 1 and alone >= 0 for forked, alone in stages)
    assert 2 <= len(stages) <= decisions + 1
