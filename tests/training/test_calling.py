"""What a training gives to optimizers that ask for more than gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from tests.training.small import inspected
from torch import Tensor, nn

import stepsize
from stepsize.training.stepping import at_evaluation_weights, tell_training


class Asking(torch.optim.SGD):
    """SGD that writes down what it is given."""

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, lr=lr)
        self.losses: list[float] = []
        self.modes: list[str] = []

    def step(self, closure: None = None, *, loss: Tensor | None = None) -> None:  # type: ignore[override]
        assert closure is None
        assert loss is not None
        assert not loss.requires_grad
        self.losses.append(loss.item())
        super().step()
        self.modes.append("step")

    def train(self) -> None:
        self.modes.append("train")

    def eval(self) -> None:
        self.modes.append("eval")


def task(make: Any, *, norm: bool = True, accumulate: int = 1) -> stepsize.Task:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    data = (x, x.sum(1, keepdim=True))

    def model() -> nn.Module:
        between = [nn.BatchNorm1d(8)] if norm else []
        return nn.Sequential(nn.Linear(4, 8), *between, nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    return stepsize.Task(
        model=model,
        loss=nn.functional.mse_loss,
        train=data,
        val=data,
        optimizer=make,
        steps=5,
        batch_size=16,
        accumulate=accumulate,
    )


@pytest.mark.parametrize("accumulate", [1, 3])
def test_an_optimizer_that_takes_the_loss_gets_the_mean_of_its_batches(accumulate: int) -> None:
    made: list[Asking] = []

    def make(params: Iterable[Any], lr: float) -> Asking:
        made.append(Asking(params, lr))
        return made[-1]

    run = stepsize.train(inspected(task(make, accumulate=accumulate), made), 0.05)

    assert made[0].losses == pytest.approx(run.losses)


def test_modes_are_told_around_every_evaluation() -> None:
    made: list[Asking] = []

    def make(params: Iterable[Any], lr: float) -> Asking:
        made.append(Asking(params, lr))
        return made[-1]

    stepsize.train(inspected(task(make), made), 0.05, evals=[2])

    assert made[0].modes == ["train", "step", "step", "eval", "train", "step", "step", "step", "eval", "train"]


def test_schedule_free_is_judged_at_its_average() -> None:
    schedulefree = pytest.importorskip("schedulefree")
    made: list[Any] = []

    def make(params: Iterable[Any], lr: float) -> Any:
        made.append(schedulefree.SGDScheduleFree(params, lr=lr))
        return made[-1]

    bare = task(make, norm=False)
    run = stepsize.train(bare, 0.05)
    assert run.model is not None
    assert bare.val is not None
    optimizer = next(one for one in made if one.param_groups[0]["k"])  # the one that trained

    def loss() -> float:
        model = run.model
        assert model is not None
        model.eval()
        with torch.no_grad():
            parts = [nn.functional.mse_loss(model(x), y, reduction="sum") for x, y in bare.val or ()]
        return float(torch.stack(parts).sum() / 64)

    assert run.objective("loss") != pytest.approx(loss(), rel=1e-6), "training goes on elsewhere"
    with at_evaluation_weights(optimizer):
        assert run.objective("loss") == pytest.approx(loss(), rel=1e-5)


def test_a_mode_comes_back_after_an_error() -> None:
    optimizer = Asking([nn.Parameter(torch.ones(1))], 0.1)
    tell_training(optimizer)

    with pytest.raises(RuntimeError, match="within"), at_evaluation_weights(optimizer):
        raise RuntimeError("within")

    assert optimizer.modes == ["train", "eval", "train"]


def test_what_has_no_modes_is_left_alone() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)

    tell_training(optimizer)
    with at_evaluation_weights(optimizer):
        pass
