"""Sharpness by power iteration equals that of the whole Hessian, and its limit is where trainings really break."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stepsize.errors import InputError
from stepsize.monitor import watch
from stepsize.monitor.sharpness import measure_sharpness
from stepsize.training.digest import digest


def _net() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 1)).double()
    x = torch.randn(40, 3, dtype=torch.float64)
    return net, x, x.prod(1, keepdim=True)


def _dense(net: nn.Module, x: Tensor, y: Tensor, scales: list[Tensor] | None = None) -> float:
    """The largest eigenvalue of the Hessian, row by row."""
    parameters = list(net.parameters())
    loss = nn.functional.mse_loss(net(x), y)
    flat = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    rows = [torch.cat([g.flatten() for g in torch.autograd.grad(one, parameters, retain_graph=True)]) for one in flat]
    hessian = torch.stack(rows)
    if scales is not None:
        scale = torch.cat([one.flatten() for one in scales])
        hessian = scale[:, None] * hessian * scale
    values = torch.linalg.eigvalsh((hessian + hessian.T) / 2)
    return float(values[values.abs().argmax()])


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_it_is_the_largest_eigenvalue_and_leaves_no_trace(kind: str) -> None:
    net, x, y = _net()
    make = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[kind]
    optimizer = make(net.parameters(), lr=0.01)
    with watch(net, optimizer) as watching:
        for _ in range(5):
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(net(x), y)
            torch.autograd.backward(loss)
            optimizer.step()
            watching.step(loss)
        before = digest(dict(net.state_dict()))
        seen = watching.sharpness(lambda: nn.functional.mse_loss(net(x), y))
    assert digest(dict(net.state_dict())) == before
    scales = None
    if kind == "adamw":
        states = [optimizer.state[p] for p in net.parameters()]
        scales = [((s["exp_avg_sq"] / (1 - 0.999**5)).sqrt() + 1e-8).rsqrt() for s in states]
    net.load_state_dict(net.state_dict())
    assert seen.converged
    assert seen.preconditioned == (kind == "adamw")
    assert seen.value == pytest.approx(_dense(net, x, y, scales), rel=0.03)
    assert watching.record.last("sharpness") == seen.value


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_beyond_the_limit_a_parabola_diverges_and_below_it_does_not(momentum: float, nesterov: bool) -> None:
    for excess in (0.95, 1.05):
        weight = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            weight.weight.copy_(torch.tensor([[1.0, 1.0]]))
        curvature = torch.tensor([3.0, 0.5])

        def loss(curvature: Tensor = curvature, weight: nn.Linear = weight) -> Tensor:
            return 0.5 * (curvature * weight.weight.square()).sum()

        optimizer = torch.optim.SGD(weight.parameters(), lr=1.0, momentum=momentum, nesterov=nesterov)
        seen = measure_sharpness([weight], optimizer, loss)
        assert seen.value == pytest.approx(3.0, rel=0.02)
        for group in optimizer.param_groups:
            group["lr"] = excess * seen.limit / 3.0  # the limit at a rate of one, over the curvature
        for _ in range(400):
            optimizer.zero_grad()
            torch.autograd.backward(loss())
            optimizer.step()
        assert (not float(loss().detach()) <= 1.75) == (excess > 1)


def test_a_loss_that_does_not_depend_on_the_weights_is_told() -> None:
    net, x, _ = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with pytest.raises(InputError, match="closure must return a scalar loss that depends on the parameters"):
        measure_sharpness([net], optimizer, x.sum)
    assert measure_sharpness([net], optimizer, lambda: sum((p.sum() for p in net.parameters()), x.sum())).value == 0
