"""Stacked updates of optimizers that look at a whole parameter, which only the record needs: thousands of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Adafactor, Muon, Optimizer

from stepsize.training.population import stack_optimizers

State: TypeAlias = dict[str, Tensor]
Rule: TypeAlias = Callable[[Tensor, Tensor, State, Tensor, int, Mapping[str, Any]], None]
"""Updates a stacked parameter, given gradient, state, rate of each member (K, 1, ...), number of the step and group."""


def stacked_step(
    optimizers: Sequence[Optimizer], members: Sequence[Sequence[Tensor]], stacked: Sequence[Tensor]
) -> Callable[[Sequence[Tensor], float], None]:
    """Return what updates all members, which differ in their rates only, given gradients and the schedule's factor."""
    rule = _RULES.get(type(optimizers[0]).__name__)
    if rule is None:
        return stack_optimizers(optimizers, members, stacked).step
    group = optimizers[0].param_groups[0]
    lrs = torch.tensor([one.param_groups[0]["lr"] for one in optimizers], dtype=torch.float64)
    states: list[State] = [{} for _ in stacked]
    count = 0

    @torch.no_grad()
    def step(gradients: Sequence[Tensor], factor: float) -> None:
        nonlocal count
        count += 1
        for parameter, gradient, state in zip(stacked, gradients, states, strict=True):
            lr = (lrs * factor).view(-1, *[1] * (parameter.dim() - 1))
            rule(parameter, gradient, state, lr, count, group)

    return step


def _decay(parameter: Tensor, lr: Tensor, group: Mapping[str, Any]) -> None:
    if group["weight_decay"]:
        parameter.mul_((1 - lr * group["weight_decay"]).to(parameter))


def _adafactor(
    parameter: Tensor, gradient: Tensor, state: State, lr: Tensor, count: int, group: Mapping[str, Any]
) -> None:
    floor = group["eps"][0] or torch.finfo(parameter.dtype).eps
    rate = _root_mean_square(parameter).clamp_(min=group["eps"][1]).mul_(lr.clamp(max=count**-0.5).to(parameter))
    _decay(parameter, lr, group)
    second = _second(gradient, state, count ** group["beta2_decay"], floor)
    gradient.mul_(second.clamp_(min=floor**2).rsqrt_())
    clipped = _root_mean_square(gradient).div_(group["d"]).clamp_(min=1.0)
    parameter.addcmul_(gradient, rate.div_(clipped), value=-1)


def _second(gradient: Tensor, state: State, weight: float, floor: float) -> Tensor:
    """Average the squares of the gradient; of a matrix, only the means of its rows and columns are kept."""
    square = gradient.square()
    if gradient.dim() < 3:  # vectors and scalars: there is nothing to factorize
        return state.setdefault("second", torch.zeros_like(square)).lerp_(square, weight).clone()
    means = {"rows": square.mean(dim=-1, keepdim=True), "columns": square.mean(dim=-2, keepdim=True)}
    for name, mean in means.items():
        means[name] = state.setdefault(name, torch.zeros_like(mean)).lerp_(mean, weight)
    mean = means["rows"].mean(dim=-2, keepdim=True)
    return torch.matmul(means["rows"], means["columns"], out=square).div_(mean.clamp(min=floor))


def _root_mean_square(whole: Tensor) -> Tensor:
    """Return each member's, shape (K, 1, ...)."""
    flat = whole.reshape(len(whole), -1)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1) / math.sqrt(flat.shape[1])
    return norms.view(-1, *[1] * (whole.dim() - 1))


def _muon(parameter: Tensor, gradient: Tensor, state: State, lr: Tensor, _: int, group: Mapping[str, Any]) -> None:
    _decay(parameter, lr, group)
    velocity = state.setdefault("velocity", torch.zeros_like(gradient)).lerp_(gradient, 1 - group["momentum"])
    direction = gradient.lerp_(velocity, group["momentum"]) if group["nesterov"] else velocity
    rows, columns = parameter.shape[1:]
    ratio = math.sqrt(max(1.0, rows / columns))
    if group["adjust_lr_fn"] == "match_rms_adamw":
        ratio = 0.2 * math.sqrt(max(rows, columns))
    parameter.addcmul_(_orthogonal(direction, group).to(parameter.dtype), (-lr * ratio).to(parameter))


def _orthogonal(direction: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Return the nearest orthogonal matrices, nearly: a Newton-Schulz iteration in bfloat16, as torch's own."""
    a, b, c = group["ns_coefficients"]
    tall = direction.shape[1] > direction.shape[2]
    found = direction.bfloat16()
    found = found.mT if tall else found
    norm = torch.linalg.vector_norm(found, dim=(1, 2), keepdim=True)
    found = found / norm.clamp(min=group["eps"])
    for _ in range(group["ns_steps"]):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


def _lion(parameter: Tensor, gradient: Tensor, state: State, lr: Tensor, _: int, group: Mapping[str, Any]) -> None:
    beta1, beta2 = group["betas"]
    _decay(parameter, lr, group)
    first = state.setdefault("first", torch.zeros_like(gradient))
    direction = first.lerp(gradient, 1 - beta1).sign_()
    first.lerp_(gradient, 1 - beta2)
    parameter.addcmul_(direction, (-lr).to(parameter))


_RULES: dict[str, Rule] = {Adafactor.__name__: _adafactor, Muon.__name__: _muon, "Lion": _lion}
