"""Sharpness: the largest curvature that an optimizer's steps see, by power iteration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from stepsize.errors import InputError
from stepsize.monitor.probe import undisturbed_models

_MOST = 50  # products with the Hessian
_PRECISION = 0.01
_TINY = 1e-12


@dataclass(frozen=True)
class Sharpness:
    """The largest curvature along directions that an optimizer can take.

    Attributes:
        value: Largest eigenvalue of the Hessian; of the preconditioned Hessian for Adam-type optimizers.
        limit: Sharpness at which steps at the present learning rate become unstable on a parabola: 2 / lr;
            (2 + 2 m) / lr with momentum m, divided by 1 + 2 m for Nesterov momentum; (2 + 2 b) / ((1 - b) lr) with
            the first beta b of Adam. Infinite at a learning rate of zero.
        preconditioned: Whether the curvature is taken after Adam's division by its second moment.
        products: Number of products with the Hessian.
        converged: Whether the last two estimates differed by less than 1%.
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
    models: Sequence[nn.Module], optimizer: Optimizer, closure: Callable[[], Tensor], *, seed: int = 0
) -> Sharpness:
    """Return the largest eigenvalue of the Hessian of the loss that ``closure`` returns, by power iteration.

    v <- P^-1/2 H P^-1/2 v / |…|, with H v the gradient of ⟨gradient, v⟩ and P = 1, or for Adam-type optimizers
    P = sqrt(v_t / (1 - b2^t)) + eps, their own divisor.

    Raises:
        InputError: If the loss does not depend on the parameters, or cannot be differentiated twice.

    Reference:
        Cohen et al., "Gradient descent on neural networks typically occurs at the edge of stability", 2021, and
        "Adaptive gradient methods at the edge of stability", 2022, for the limits.
    """
    owned = {id(p) for model in models for p in model.parameters()}
    groups = optimizer.param_groups
    pairs = [(p, group) for group in groups for p in group["params"] if p.requires_grad and id(p) in owned]
    parameters = [p for p, _ in pairs]
    scales = [_scale(optimizer, p, group) for p, group in pairs]
    with undisturbed_models(models, closure, gradients=True) as same:
        loss = same()
        if not isinstance(loss, Tensor) or loss.ndim or not loss.requires_grad:
            what = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise InputError("closure", what, "must return a scalar loss that depends on the parameters")
        gradient = torch.autograd.grad(loss, parameters, create_graph=True, allow_unused=True)
        value, products, converged = _iterate(gradient, parameters, scales, seed)
    preconditioned = any(scale is not None for scale in scales)
    limit = min(_limit(group, preconditioned) for group in groups)
    return Sharpness(value, limit, preconditioned, products, converged)


def _iterate(
    gradient: Sequence[Tensor | None], parameters: Sequence[Tensor], scales: Sequence[Tensor | None], seed: int
) -> tuple[float, int, bool]:
    generator = torch.Generator().manual_seed(seed)
    vector = [torch.randn(p.shape, generator=generator).to(p) for p in parameters]
    value, last = 0.0, math.nan
    for number in range(1, _MOST + 1):
        norm = math.sqrt(max(_dot(vector, vector), _TINY))
        vector = [part / norm for part in vector]
        product = _scaled(_hessian_product(gradient, parameters, _scaled(vector, scales)), scales)
        value = _dot(vector, product)
        if abs(value - last) <= _PRECISION * abs(value) or _dot(product, product) < _TINY**2:
            return value, number, True
        vector, last = product, value
    return value, _MOST, False


def _hessian_product(
    gradient: Sequence[Tensor | None], parameters: Sequence[Tensor], vector: Sequence[Tensor]
) -> list[Tensor]:
    inner = [(one * two).sum() for one, two in zip(gradient, vector, strict=True) if one is not None]
    total = torch.stack(inner).sum()
    if not total.requires_grad:  # linear in the parameters
        return [torch.zeros_like(part) for part in vector]
    try:
        found = torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        raise InputError("closure", str(error).splitlines()[0], "must return a loss with two derivatives") from error
    return [torch.zeros_like(part) if one is None else one for one, part in zip(found, vector, strict=True)]


def _scaled(parts: Sequence[Tensor], scales: Sequence[Tensor | None]) -> list[Tensor]:
    return [part if scale is None else part * scale for part, scale in zip(parts, scales, strict=True)]


def _dot(one: Sequence[Tensor], two: Sequence[Tensor]) -> float:
    with torch.no_grad():
        return float(torch.stack([(a.double() * b.double()).sum() for a, b in zip(one, two, strict=True)]).sum())


def _scale(optimizer: Optimizer, parameter: Tensor, group: dict[str, Any]) -> Tensor | None:
    """Return P^-1/2 of Adam for one parameter; None if the optimizer divides by nothing."""
    state = optimizer.state.get(parameter, {})
    second, count = state.get("exp_avg_sq"), state.get("step")
    if not isinstance(optimizer, Adam) or second is None or not count:
        return None
    divisor: Tensor = (second / (1 - group["betas"][1] ** float(count))).sqrt() + group["eps"]
    return divisor.detach().rsqrt()


def _limit(group: dict[str, Any], preconditioned: bool) -> float:
    lr = float(group["lr"])
    if lr <= 0:
        return math.inf
    if preconditioned:
        beta = float(group["betas"][0])
        return (2 + 2 * beta) / ((1 - beta) * lr)
    momentum = float(group.get("momentum") or 0.0)
    return (2 + 2 * momentum) / (1 + 2 * momentum if group.get("nesterov") else 1.0) / lr
