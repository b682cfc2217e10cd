"""Sharpness, where a user asks for it: the largest curvature that an optimizer's steps see, by power iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from stepsize.errors import InputError
from stepsize.monitor.probe import still

__all__ = ["Sharpness", "measure_sharpness"]

_MOST = 50  # products with the Hessian
_PRECISION = 0.01
_TINY = 1e-12


@dataclass(frozen=True)
class Sharpness:
    """The largest curvature along directions that an optimizer may take.

    Attributes:
        value: The largest eigenvalue of the Hessian, of Adam and its kin of the preconditioned one.
        limit: Where steps at the present rate stop being stable on a parabola: 2 / lr; (2 + 2 m) / lr with momentum
            m, divided by 1 + 2 m where it is Nesterov's; (2 + 2 b) / ((1 - b) lr) with the first beta b of Adam.
            Infinite at a rate of zero.
        preconditioned: Whether the curvature is that after Adam's division by its second moment.
        products: How many products with the Hessian it took.
        converged: Whether the last two estimates differed by less than one per cent.
    """

    value: float
    limit: float
    preconditioned: bool
    products: int
    converged: bool

    @property
    def ratio(self) -> float:
        """Sharpness over its limit: near 1 at the edge of stability, which is normal."""
        return self.value / self.limit


def measure_sharpness(
    models: Sequence[nn.Module], optimizer: Optimizer, again: Callable[[], Tensor], *, seed: int = 0
) -> Sharpness:
    """Return the largest eigenvalue of the Hessian of the loss that ``again`` returns, by power iteration.

    v <- P^-1/2 H P^-1/2 v / |…|, with H v the gradient of ⟨gradient, v⟩ and P = 1, or for Adam and its kin
    P = sqrt(v_t / (1 - b2^t)) + eps, its own divisor.

    Args:
        models: What the optimizer updates; buffers and generators are left as they are.
        optimizer: At whose rate the limit is taken.
        again: Returns the loss at the present weights, with its graph.
        seed: Of the first direction.

    Returns:
        The sharpness beside its limit; some tens of backward passes.

    Raises:
        InputError: If the loss does not depend on the parameters, or cannot be differentiated twice.

    Reference:
        Cohen et al., "Gradient descent on neural networks typically occurs at the edge of stability", 2021, and
        "Adaptive gradient methods at the edge of stability", 2022, for the limits.
    """
    owned = {id(p) for model in models for p in model.parameters()}
    groups = optimizer.param_groups
    places = [(p, n) for n, group in enumerate(groups) for p in group["params"] if p.requires_grad and id(p) in owned]
    parameters = [p for p, _ in places]
    scales = [_scale(optimizer, p, groups[n]) for p, n in places]
    with still(models, again, gradients=True) as same:
        value, products, converged = _iterate(_gradient(same(), parameters), parameters, scales, seed)
    preconditioned = any(scale is not None for scale in scales)
    limit = min(_limit(group, preconditioned) for group in groups)
    return Sharpness(value, limit, preconditioned, products, converged)


def _gradient(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
        what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise InputError("again", what, "must return a scalar loss that depends on the parameters")
    return list(torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True))


def _iterate(
    gradient: Sequence[Tensor | None], parameters: Sequence[Tensor], scales: Sequence[Tensor | None], seed: int
) -> tuple[float, int, bool]:
    generator = torch.Generator().manual_seed(seed)
    vector = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
    value, last = 0.0, math.nan
    for number in range(1, _MOST + 1):
        length = math.sqrt(max(_dot(vector, vector), _TINY))
        vector = [part / length for part in vector]
        product = _product(gradient, parameters, scales, vector)
        value = _dot(vector, product)
        if abs(value - last) <= _PRECISION * abs(value):
            return value, number, True
        vector, last = product, value
        if _dot(product, product) < _TINY**2:
            return value, number, True
    return value, _MOST, False


def _product(
    gradient: Sequence[Tensor | None],
    parameters: Sequence[Tensor],
    scales: Sequence[Tensor | None],
    vector: Sequence[Tensor],
) -> list[Tensor]:
    scaled = [_scaled(part, scale) for part, scale in zip(vector, scales, strict=True)]
    inner = [(one * two).sum() for one, two in zip(gradient, scaled, strict=True) if one is not None]
    total = torch.stack(inner).sum()
    if not total.requires_grad:  # linear in the parameters
        return [torch.zeros_like(part) for part in vector]
    try:
        products = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise InputError("again", str(error).splitlines()[0], "must return a loss with two derivatives") from error
    return [
        torch.zeros_like(part) if product is None else _scaled(product, scale)
        for product, scale, part in zip(products, scales, vector, strict=True)
    ]


def _scaled(part: Tensor, scale: Tensor | None) -> Tensor:
    return part if scale is None else part * scale


def _dot(one: Sequence[Tensor], two: Sequence[Tensor]) -> float:
    with torch.no_grad():
        return float(torch.stack([(a.double() * b.double()).sum() for a, b in zip(one, two, strict=True)]).sum())


def _scale(optimizer: Optimizer, parameter: Tensor, group: dict[str, object]) -> Tensor | None:
    """Return P^-1/2 of Adam for one parameter; None where the optimizer divides by nothing."""
    state = optimizer.state.get(parameter, {})
    second, count = state.get("exp_avg_sq"), state.get("step")
    if not isinstance(optimizer, Adam) or second is None or not count:
        return None
    beta, eps = group["betas"][1], group["eps"]  # type: ignore[index]
    divisor = (second / (1 - beta ** float(count))).sqrt() + eps
    scale: Tensor = divisor.detach().rsqrt()
    return scale


def _limit(group: dict[str, object], preconditioned: bool) -> float:
    lr = float(group["lr"])  # type: ignore[arg-type]
    if lr <= 0:
        return math.inf
    if preconditioned:
        beta = float(group["betas"][0])  # type: ignore[index]
        return (2 + 2 * beta) / ((1 - beta) * lr)
    momentum = float(group.get("momentum") or 0.0)  # type: ignore[arg-type]
    ahead = 1 + 2 * momentum if group.get("nesterov") else 1.0
    return (2 + 2 * momentum) / ahead / lr
