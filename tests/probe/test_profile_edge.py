"""The critical rate in a training, on bowls whose curvature is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.training.small import batches, make_task, network
from torch import Tensor, nn

from stepsize import Task
from stepsize.probe.critical import heavy_ball
from stepsize.probe.profiling.edge import Prober, StabilityEdge
from stepsize.training.stepping import build_optimizer

WITHIN = math.log(1.3) / 2 + 1e-6  # half of the bracket at which the search ends


class Point(nn.Module):
    """A point w in a bowl."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w.clone())


def hessian() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    root = torch.randn(4, 4, generator=generator)
    return root @ root.T + torch.eye(4)


def bowl(start: Tensor, **changes: Any) -> Task:
    """w^T H w / 2 from ``start``; a batch is a number that the loss is multiplied with."""
    matrix = hessian()

    def loss(model: Point, batch: Tensor) -> Tensor:
        return 0.5 * model.w @ matrix @ model.w * batch.mean()

    parts: dict[str, Any] = {"train": [torch.ones(1)] * 8, "optimizer": "sgd", "steps": 20, "device": "cpu"}
    return Task(model=lambda: Point(start), loss=loss, **(parts | changes))


def probe(task: Task, *, count: int = 1, start: float = 1e-3) -> tuple[Prober, StabilityEdge]:
    prober = Prober(task, seed=0)
    edge = prober.edge([[batch] for batch in list(task.train)[:count]], step=0, start=start)
    assert isinstance(edge, StabilityEdge)
    return prober, edge


@pytest.mark.parametrize("optimizer", ["sgd", "momentum"])
@pytest.mark.parametrize("which", [0, -1])
def test_along_an_eigenvector_it_is_two_over_the_eigenvalue(optimizer: str, which: int) -> None:
    values, vectors = torch.linalg.eigh(hessian())
    _, edge = probe(bowl(vectors[:, which], optimizer=optimizer))
    assert abs(math.log(edge.lr / (2 / float(values[which])))) <= WITHIN


def test_along_a_gradient_it_is_two_over_the_curvature_in_that_direction() -> None:
    start = torch.tensor([1.0, -2.0, 0.5, 1.0])
    g = hessian() @ start
    _, edge = probe(bowl(start))
    assert abs(math.log(edge.lr / float(2 * (g @ g) / (g @ hessian() @ g)))) <= WITHIN


def test_momentum_of_past_batches_is_left_out() -> None:
    task = bowl(torch.tensor([1.0, -2.0, 0.5, 1.0]), optimizer="momentum")
    prober = Prober(task, seed=0)
    for _ in range(3):
        prober.train([torch.ones(1)], 0.02)
    w = next(prober.model.parameters()).detach()
    g = hessian() @ w
    edge = prober.edge([[torch.ones(1)]], step=3, start=0.1)
    assert isinstance(edge, StabilityEdge)
    assert abs(math.log(edge.lr / float(2 * (g @ g) / (g @ hessian() @ g)))) <= WITHIN


def test_adams_scales_are_kept_while_its_average_is_left_out() -> None:
    prober = Prober(bowl(torch.tensor([1.0, -2.0, 0.5, 1.0]), optimizer="adam"), seed=0)
    squares, w = torch.zeros(4), next(prober.model.parameters())
    for _ in range(3):
        squares = 0.999 * squares + 0.001 * (hessian() @ w.detach()) ** 2
        prober.train([torch.ones(1)], 0.1)
    g = hessian() @ w.detach()
    squares = (0.999 * squares + 0.001 * g**2) / (1 - 0.999**4)
    u = g / squares.sqrt()
    edge = prober.edge([[torch.ones(1)]], step=3, start=0.1)
    assert isinstance(edge, StabilityEdge)
    assert abs(math.log(edge.lr / float(2 * (g @ u) / (u @ hessian() @ u)))) <= WITHIN


def test_median_and_range_are_those_of_the_updates() -> None:
    values, vectors = torch.linalg.eigh(hessian())
    task = bowl(vectors[:, -1], train=[torch.full((1,), scale) for scale in (1.0, 4.0, 0.25)])
    _, edge = probe(task, count=3)
    rates = [found.lr for found in edge.probes if found.lr]
    assert edge.lr == sorted(rates)[1]
    assert edge.interval == (min(rates), max(rates))
    assert rates[0] / rates[1] == pytest.approx(4, rel=0.3)
    assert edge.lr == pytest.approx(2 / float(values[-1]), rel=0.15)


def test_probing_leaves_model_optimizer_and_groups_as_they_were() -> None:
    prober = Prober(make_task(model=network, optimizer="adamw", clip=1.0), seed=0)
    given = batches()
    for batch in given[:2]:
        prober.train([batch], 1e-2)
    snapshot = prober.snapshot()
    prober.edge([[batch] for batch in given[:3]], step=2, start=1e-3)
    assert snapshot.differences() == []


def test_an_update_that_moves_nothing_has_no_critical_rate_and_says_so() -> None:
    prober = Prober(bowl(torch.zeros(4)), seed=0)
    assert prober.edge([[torch.ones(1)]], step=0, start=1e-3) == "The update changed no weight."


def test_trials_cost_a_forward_pass_and_the_update_three() -> None:
    prober, edge = probe(bowl(torch.ones(4)))
    assert prober.passes == 3 + len(edge.probes[0].trials)


@pytest.mark.parametrize(("name", "momentum"), [("sgd", 0.0), ("momentum", 0.9), ("nesterov", 0.9), ("adamw", 0.0)])
def test_only_heavy_ball_momentum_amplifies(name: str, momentum: float) -> None:
    task = make_task(optimizer=name)
    assert heavy_ball([build_optimizer(task, task.model(), 0.1)]) == momentum
