"""A target that drifts: inputs turn, learning goes on, and a rate that settles is left behind."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from benchmarks.drifting import Drifting, drifting
from torch import nn

from stepsize.errors import InputError, TaskError
from stepsize.training import InOrder, Setting, Task, train
from stepsize.training.population import Population


def make(**others: Any) -> Task:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(256, 8, generator=generator)
    y = x @ torch.randn(8, 1, generator=generator)
    given: dict[str, Any] = {
        "model": lambda: nn.Linear(8, 1), "loss": nn.functional.mse_loss, "train": (x[:192], y[:192]),
        "val": (x[192:], y[192:]), "optimizer": "sgd", "steps": 200, "batch_size": 32, "name": "plane",
    }  # fmt: skip
    return Task(**(given | others))


def test_it_turns_pairs_and_keeps_lengths() -> None:
    model = Drifting(nn.Identity(), turn=0.25)
    x = torch.randn(4, 2, 3)
    assert torch.allclose(model(x), x, atol=1e-6)  # the first update
    turned = model(x)  # a right angle: (a, b) becomes (-b, a)
    assert turned.shape == x.shape
    assert torch.allclose(turned.flatten(1).norm(dim=1), x.flatten(1).norm(dim=1), atol=1e-5)
    assert torch.allclose(turned.flatten(1).abs().sort().values, x.flatten(1).abs().sort().values, atol=1e-5)
    assert not torch.allclose(turned, x)
    assert torch.allclose(model(x), -x, atol=1e-5)
    assert torch.allclose(model.eval()(x), -x, atol=1e-5)  # judged at the angle of the last update
    assert torch.allclose(model(x), -x, atol=1e-5)  # judging does not turn


def test_an_odd_number_stays() -> None:
    model = Drifting(nn.Identity(), turn=0.5)
    x = torch.randn(5, 7)
    model(x)
    assert int((model(x) * x > 0).all(dim=0).sum()) == 1


def test_a_population_drifts_like_one_run() -> None:
    task = drifting(make(), 0.25)
    settings = [Setting(lr, seed, task.horizon) for lr, seed in ((0.01, 0), (0.1, 0), (0.1, 1))]
    together = dict(Population().stream(task, settings))
    apart = dict(InOrder().stream(task, settings))
    for place, run in apart.items():
        assert together[place].val_loss == pytest.approx(run.val_loss, rel=1e-3)


def test_a_rate_that_settles_is_left_behind() -> None:
    still, moving = make(schedule="cosine"), drifting(make(schedule="cosine"), 0.5)
    constant = drifting(make(), 0.5)
    assert train(still, 0.1, seed=0).val_loss < 1e-4
    assert train(moving, 0.1, seed=0).val_loss > 5 * train(constant, 0.1, seed=0).val_loss


def test_where_it_is_lies_in_the_state_of_the_model() -> None:
    model = Drifting(nn.Linear(4, 1), turn=0.01)
    for _ in range(3):
        model(torch.randn(2, 4))
    other = Drifting(nn.Linear(4, 1), turn=0.01)
    other.load_state_dict(model.state_dict())
    x = torch.randn(2, 4)
    assert torch.equal(model.eval()(x), other.eval()(x))


def test_schedule_and_horizon_are_the_tasks_own() -> None:
    task = make(schedule="warmup 10%, cosine")
    other = drifting(task, 1)
    assert other.horizon == task.horizon
    assert other.schedule == task.schedule
    assert other.name == "plane drifting 1 turn"


@pytest.mark.parametrize("turns", [0, -1, math.nan, math.inf, True, "much"])
def test_bad_turns_are_told(turns: Any) -> None:
    with pytest.raises(InputError, match="turns must be a positive, finite number"):
        drifting(make(), turns)


def test_symbols_cannot_drift() -> None:
    x = torch.randint(5, (64, 3))
    task = make(
        model=lambda: nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(12, 1)), train=(x, x[:, :1] / 5)
    )
    with pytest.raises(TaskError, match=r"must get floating-point inputs to turn; got torch.int64"):
        train(drifting(task), 0.1, seed=0)
