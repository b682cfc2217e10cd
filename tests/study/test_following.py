"""`follow`: short runs and one or two full ones, chosen by the validation loss, within 2.5 full runs."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.small import examples
from torch import nn
from torch.nn.functional import mse_loss

import stepsize
from stepsize.curves.lr_model import Point, fit_lr_model
from stepsize.errors import InputError
from stepsize.study import following
from stepsize.study.following import Followed, chance_of_less, follow
from stepsize.training import Metric, Task
from stepsize.training.position import RngState


def make(**others: Any) -> Task:
    x, y = examples(96)
    given: dict[str, Any] = {
        "model": lambda: nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)), "loss": mse_loss,
        "train": (x[:64], y[:64]), "val": (x[64:], y[64:]), "optimizer": "adam", "steps": 160, "batch_size": 16,
        "schedule": "cosine", "name": "plane",
    }  # fmt: skip
    return Task(**(given | others))


Heard = list[tuple[float, int]]


@pytest.fixture(scope="module")
def followed() -> tuple[Followed, Heard]:
    """One call, and what it told of its progress."""
    heard: Heard = []
    found = follow(make(), 1e-3, seed=0, on_progress=lambda one: heard.append((one.setting.lr, one.step)))
    return found, heard


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
    assert found.cost <= 2.5


def test_the_kept_run_is_the_one_that_training_at_its_rate_gives(followed: tuple[Followed, Heard]) -> None:
    found, _ = followed
    alone = stepsize.train(make(), found.lr, seed=0)
    assert found.run.losses.tolist() == alone.losses.tolist()
    assert found.run.val_loss == alone.val_loss
    assert found.run.model is not None
    assert alone.model is not None
    for one, two in zip(found.run.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_it_keeps_the_lowest_full_run_and_counts_all(followed: tuple[Followed, Heard]) -> None:
    found, heard = followed
    assert len(heard) == sum(len(run.losses) for run in found.runs)
    full = [run for run in found.runs if run.share == 1.0]
    assert [run.share for run in found.runs[:4]] == [0.1] * 4
    assert found.runs[0].lr == 1e-3
    assert len(full) == 2
    assert found.run.value == min(run.value for run in full)
    assert found.run.model is not None
    assert all(run.model is None for run in found.runs)
    assert found.cost == pytest.approx(sum(run.cost for run in found.runs))
    # A short run has 16 updates, a full one 160; the 32 validation examples are two forward passes.
    assert found.cost == pytest.approx((4 * (16 * 3 + 2) + 2 * (160 * 3 + 2)) / (160 * 3 + 2))
    assert f"lr {stepsize.views.number_text(found.lr)} reached" in found.reason
    assert "the lowest of 2 full runs" in found.reason
    told = found.to_json()
    assert [one["lr"] for one in told["tried"]] == [run.lr for run in found.runs]
    assert told["full_runs"] == found.cost


def test_a_start_that_is_best_is_trained_in_full_and_kept() -> None:
    task = make()
    full = {lr: stepsize.train(task, lr, seed=0).val_loss for lr in np.geomspace(1e-2, 0.2, 14).tolist()}
    lr = min(full, key=full.__getitem__)
    found = follow(task, lr, seed=0)
    assert lr in [run.lr for run in found.runs if run.share == 1.0]
    assert found.run.val_loss <= full[lr]


def test_a_start_that_is_clearly_worse_is_not_trained_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_CLEAR", 1.1)  # nothing is that sure
    beside = follow(make(), 1e-4, seed=0)
    monkeypatch.setattr(following, "_CLEAR", 0.5)
    found = follow(make(), 1e-4, seed=0)
    assert [run.lr for run in beside.runs[:-1]] == [run.lr for run in found.runs[:-1]]
    assert beside.runs[-1].lr == 1e-4 < found.runs[-1].lr
    assert "the lowest of 2 full runs" in found.reason


def test_a_start_that_is_recommended_is_trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_SAME", 9.0)
    found = follow(make(), 1e-2, seed=0)
    assert [run.share for run in found.runs] == [0.1] * 4 + [1.0]
    assert found.lr == found.runs[-1].lr == 1e-2
    assert found.cost < 1.5


def test_a_run_too_short_for_short_runs_is_trained_in_full() -> None:
    found = follow(make(steps=40), 1e-3, seed=0)
    assert [run.share for run in found.runs] == [1.0, 1.0]
    assert found.runs[0].lr == 1e-3


def test_the_objective_selects() -> None:
    near = Metric(lambda output, target: ((output - target).abs() < 0.1).float().mean(), maximize=True)
    found = follow(make(metrics={"near": near}, objective="near"), 1e-4, seed=0)
    full = [run for run in found.runs if run.share == 1.0]
    assert found.run.value == min(run.value for run in full) == -found.run.evaluations[-1].metrics["near"]


def test_it_leaves_generators_as_they_were_and_repeats_itself() -> None:
    task = make(model=lambda: nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.1), nn.Linear(8, 1)))
    before = RngState.take()
    first = follow(task, 1e-3, seed=1)
    assert torch.equal(torch.get_rng_state(), before.torch)
    again = follow(task, 1e-3, seed=1)
    assert [run.lr for run in first.runs] == [run.lr for run in again.runs]
    assert first.run.losses.tolist() == again.run.losses.tolist()


def test_a_run_that_diverges_at_every_rate_is_told() -> None:
    broken = lambda output, target: mse_loss(output, target) * (1.0 if output.shape[0] == 32 else math.inf)  # noqa: E731
    x, y = examples(96)
    found = follow(make(loss=broken, val=(x[64:], y[64:]), batch_size=32, train=(x[:48], y[:48])), 1e-2, seed=0)
    assert found.run.diverged
    assert found.reason == "All full runs diverged."


def test_the_chance_is_that_of_the_drawn_curves() -> None:
    runs = [Point(10**x, 0.1 + (x + 2) ** 2 / 4) for x in (-3.0, -2.5, -2.0, -1.5, -1.0)]
    model = fit_lr_model(runs, usual=1e-2, untrained=2.0)
    assert chance_of_less(model, 1e-2, 1e-3) > 0.9
    assert chance_of_less(model, 1e-3, 1e-2) < 0.1
    assert chance_of_less(model, 1e-2, 1e-2) == 0.0


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"lr": 0.0}, "lr must be a positive, finite learning rate"),
        ({}, {"lr": math.nan}, "lr must be a positive, finite learning rate"),
        ({}, {"lr": 0.1, "seed": -1}, "seed must be a whole number, at least 0"),
        ({"val": None}, {"lr": 0.1}, "must have validation data, which select the rate"),
    ],
)
def test_bad_input_is_told(changes: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        follow(make(**changes), **arguments)
