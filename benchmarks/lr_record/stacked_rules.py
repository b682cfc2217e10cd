"""Stacked updates of optimizers that look at a whole parameter, which only the record needs: thousands of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Adafactor, Muon, Optimizer

from stepsize.training.population import StackedOptimizer, stack_optimizers

State: TypeAlias = dict[str, Tensor]
Rule: TypeAlias = Callable[[Tensor, Tensor, State, Tensor, int, Mapping[str, Any]], None]
"""Updates a stacked parameter, given gradient, state, rate of each member (K, 1, ...), number of the step and group."""


class StackedUpdates:
    """Updates stacked parameters by a rule; members differ in their rates only."""

    def __init__(self, rule: Rule, optimizers: Sequence[Optimizer], stacked: Sequence[Tensor]) -> None:
        self._rule, self._group = rule, optimizers[0].param_groups[0]
        self._lrs = torch.tensor([one.param_groups[0]["lr"] for one in optimizers], dtype=torch.float64)
        self._stacked, self._states = list(stacked), [State() for _ in stacked]
        self._count = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], factor: float) -> None:
        """Update all members at ``factor`` times their rates; the gradients are overwritten."""
        self._count += 1
        for parameter, gradient, state in zip(self._stacked, gradients, self._states, strict=True):
            lr = (self._lrs * factor).view(-1, *[1] * (parameter.dim() - 1))
            self._rule(parameter, gradient, state, lr, self._count, self._group)

    def averages(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the parameters that are evaluated at an average, with that."""
        for parameter, state in zip(self._stacked, self._states, strict=True):
            if "z" in state:
                yield parameter, parameter.lerp(state["z"], 1 - 1 / _beta1(self._group))


def stacked_updates(
    optimizers: Sequence[Optimizer], members: Sequence[Sequence[Tensor]], stacked: Sequence[Tensor]
) -> StackedUpdates | StackedOptimizer:
    """Return what updates all members, which differ in their rates only; packages not always there go by name."""
    rule = _RULES.get(type(optimizers[0]).__name__)
    if rule is None:
        return stack_optimizers(optimizers, members, stacked)
    return StackedUpdates(rule, optimizers, stacked)


@contextmanager
def averaged(optimizers: Iterable[StackedUpdates | StackedOptimizer]) -> Iterator[None]:
    """Put the averages that schedule-free optimizers evaluate into the parameters for a while."""
    moved = [one for each in optimizers if isinstance(each, StackedUpdates) for one in each.averages()]
    kept = [parameter.clone() for parameter, _ in moved]
    for parameter, average in moved:
        parameter.copy_(average)
    yield
    for (parameter, _), before in zip(moved, kept, strict=True):
        parameter.copy_(before)


def _kept(state: State, name: str, like: Tensor) -> Tensor:
    """Return a part of the state, which begins at zero."""
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]


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
        return _kept(state, "second", square).lerp_(square, weight).clone()
    means = {"rows": square.mean(dim=-1, keepdim=True), "columns": square.mean(dim=-2, keepdim=True)}
    for name, mean in means.items():
        means[name] = _kept(state, name, mean).lerp_(mean, weight)
    mean = means["rows"].mean(dim=-2, keepdim=True)
    return torch.matmul(means["rows"], means["columns"], out=square).div_(mean.clamp(min=floor))


def _root_mean_square(whole: Tensor) -> Tensor:
    """Return each member's, shape (K, 1, ...)."""
    flat = whole.reshape(len(whole), -1)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1) / math.sqrt(flat.shape[1])
    return norms.view(-1, *[1] * (whole.dim() - 1))


def _muon(parameter: Tensor, gradient: Tensor, state: State, lr: Tensor, _: int, group: Mapping[str, Any]) -> None:
    _decay(parameter, lr, group)
    velocity = _kept(state, "velocity", gradient).lerp_(gradient, 1 - group["momentum"])
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
    first = _kept(state, "first", gradient)
    direction = first.lerp(gradient, 1 - beta1).sign_()
    first.lerp_(gradient, 1 - beta2)
    parameter.addcmul_(direction, (-lr).to(parameter))


def _beta1(group: Mapping[str, Any]) -> float:
    return float(group["betas"][0] if "betas" in group else group["momentum"])


def _schedule_free_adamw(
    parameter: Tensor, gradient: Tensor, state: State, lr: Tensor, count: int, group: Mapping[str, Any]
) -> None:
    beta2 = group["betas"][1]
    second = _kept(state, "second", gradient).lerp_(gradient.square(), 1 - beta2)
    gradient.div_((second / (1 - beta2**count)).sqrt_().add_(group["eps"]))
    _schedule_free(parameter, gradient, state, lr, count, group)


def _schedule_free(
    parameter: Tensor, gradient: Tensor, state: State, lr: Tensor, count: int, group: Mapping[str, Any]
) -> None:
    """Move y, where gradients are taken, and z, where plain steps lead; the average x of all z is on their line.

    The weight of update t in the average is min(1, t / warmup)², as the rate is constant but for the warmup.
    """
    assert not group["r"]
    assert group["weight_lr_power"] == 2.0
    if "z" not in state:
        state["z"] = parameter.clone()
    z = state["z"]
    warmup, beta1 = group["warmup_steps"], _beta1(group)
    ramp = min(1.0, count / warmup) if warmup else 1.0
    rising = min(count, warmup)
    share = ramp**2 / (count - rising + rising * (rising + 1) * (2 * rising + 1) / (6 * max(1, warmup) ** 2))
    gradient.add_(parameter * group["weight_decay"])
    parameter.lerp_(z, share)
    parameter.addcmul_(gradient, (-lr * (ramp * (1 - beta1 * (1 - share)))).to(parameter))
    z.addcmul_(gradient, (-lr * ramp).to(parameter))


_RULES: dict[str, Rule] = {
    Adafactor.__name__: _adafactor,
    Muon.__name__: _muon,
    "Lion": _lion,
    "SGDScheduleFree": _schedule_free,
    "AdamWScheduleFree": _schedule_free_adamw,
}
