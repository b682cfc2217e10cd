"""One optimizer for vectorized runs: torch's own, over the stacked parameters of all members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

from stepsize.errors import NotStackableError
from stepsize.training.wrapped import remade

STACKABLE = (SGD, Adadelta, Adagrad, RMSprop, Adam, AdamW, Adamax, NAdam, RAdam)
"""Classes that move each number alone and in proportion to the rate; a subclass may do otherwise."""

_FUSED = (SGD, Adagrad, Adam, AdamW)  # which can pass over the parameters once on a CPU, if those are contiguous
_MOST = 1e6  # rate of the common movement: one that is to diverge must not make it overflow for the others


def stack_optimizers(
    optimizers: Sequence[Optimizer], members: Sequence[Sequence[Tensor]], stacked: Sequence[Tensor]
) -> StackedOptimizer:
    """Return one optimizer that updates all members as their own torch optimizers would, but for rounding.

    ``stacked`` holds the parameters of all ``members``, shape (K, *shape) each. The optimizers, one per member, are
    only read: their classes, and the hyperparameters of each group, in which members may differ. NotStackableError if
    they are of a class that cannot be stacked, or were stepped before.
    """
    for whole in stacked:
        if whole.dtype not in (torch.float32, torch.float64):
            raise NotStackableError(f"parameters of {whole.dtype} cannot be stacked, only of float32 and float64")
    kinds = [_kind(optimizer, own) for optimizer, own in zip(optimizers, members, strict=True)]
    parts = []
    for _, alike in groupby(range(len(optimizers)), key=lambda k: kinds[k]):
        places = list(alike)
        parts.append(_begun([optimizers[k] for k in places], members[places[0]], stacked, places[0]))
    return StackedOptimizer(parts)


@dataclass(frozen=True, eq=False)
class _Part:
    """Members next to each other that differ in the rate only, and the optimizer of their stacked parameters.

    The optimizer moves all of them at one constant rate, of which ``shares`` are their own, by group. ``numbers`` are
    those of the parameters among all, in the order of the groups.
    """

    optimizer: Optimizer
    shares: list[Tensor]
    numbers: list[list[int]]
    begin: int

    @property
    def size(self) -> int:
        return len(self.shares[0])

    def step(self, gradients: Sequence[Tensor | None], factors: float | Tensor) -> None:
        some = slice(self.begin, self.begin + self.size)
        by_member = factors[some] if isinstance(factors, Tensor) else factors
        moved: list[tuple[Tensor, Tensor, Tensor]] = []
        for group, share, numbers in zip(self.optimizer.param_groups, self.shares, self.numbers, strict=True):
            weights = share * by_member
            for parameter, number in zip(group["params"], numbers, strict=True):
                gradient = gradients[number]
                parameter.grad = None if gradient is None else gradient[some].contiguous()
                if gradient is not None:
                    moved.append((parameter, parameter.clone(), weights.to(parameter)))
        self.optimizer.step()
        for parameter, before, weights in moved:
            parameter.grad = None
            torch.lerp(before, parameter, weights.view(-1, *[1] * (parameter.dim() - 1)), out=parameter)

    def forked(self, chosen: Tensor, stacked: Sequence[Tensor], begin: int) -> _Part:
        """Return a part of those members of this one, from place ``begin`` on; ``stacked`` holds their parameters."""
        optimizer = _over(self.optimizer, self.numbers, stacked, begin, len(chosen))
        for group, other in zip(self.optimizer.param_groups, optimizer.param_groups, strict=True):
            for parameter, own in zip(group["params"], other["params"], strict=True):
                where = chosen.to(parameter.device)
                state = self.optimizer.state.get(parameter, {})
                optimizer.state[own] = {name: _cut(value, where) for name, value in state.items()}
        return _Part(optimizer, [share[chosen.cpu()] for share in self.shares], self.numbers, begin)


@final
class StackedOptimizer:
    """Updates the stacked parameters of K members, each by its own hyperparameters; made by `stack_optimizers`."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = list(parts)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], factors: float | Tensor = 1.0) -> None:
        """Update all members in place at factors × their peak rates."""
        for part in self._parts:
            part.step(gradients, factors)

    @torch.no_grad()
    def forked(self, members: Tensor, stacked: Sequence[Tensor]) -> StackedOptimizer:
        """Return an optimizer that continues with ``members`` (indices, which may repeat); this one stays as it is.

        ``stacked`` holds their parameters.
        """
        owners = [part for part in self._parts for _ in range(part.size)]
        parts, begin = [], 0
        for part, together in groupby(members.tolist(), key=owners.__getitem__):
            chosen = torch.tensor(list(together)) - part.begin
            parts.append(part.forked(chosen, stacked, begin))
            begin += len(chosen)
        return StackedOptimizer(parts)


def _kind(optimizer: Optimizer, own: Sequence[Tensor]) -> tuple[Any, ...]:
    """Return in what members must agree to be one part: all but the rate; NotStackableError for what has none."""
    kind = type(optimizer)
    if kind not in STACKABLE:
        known = ", ".join(each.__name__ for each in STACKABLE)
        raise NotStackableError(f"{kind.__module__}.{kind.__qualname__} has no stacked form; these do: {known}")
    if any(float(state["step"]) > 0 if "step" in state else bool(state) for state in optimizer.state.values()):
        raise NotStackableError("an optimizer was stepped before, and its state would be dropped")
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        raise NotStackableError("the optimizer has step hooks, which a stacked step would not call")
    groups = [{**group, "params": _numbers(group["params"], own), "lr": None} for group in optimizer.param_groups]
    if any(group.get("differentiable") for group in groups):
        raise NotStackableError("differentiable=True: a stacked step is not recorded by autograd")
    return kind, repr(groups), repr(optimizer.defaults | {"lr": None})


def _numbers(parameters: Sequence[Tensor], own: Sequence[Tensor]) -> list[int]:
    numbers = {id(parameter): number for number, parameter in enumerate(own)}
    if not all(id(parameter) in numbers for parameter in parameters):
        raise NotStackableError("the optimizer also trains parameters that are not the member's own")
    return [numbers[id(parameter)] for parameter in parameters]


def _begun(optimizers: Sequence[Optimizer], own: Sequence[Tensor], stacked: Sequence[Tensor], begin: int) -> _Part:
    first = optimizers[0]
    numbers = [_numbers(group["params"], own) for group in first.param_groups]
    optimizer = _over(first, numbers, stacked, begin, len(optimizers))
    fast = isinstance(first, _FUSED) and all(p.is_contiguous() and p.device.type == "cpu" for p in stacked)
    shares = []
    for place, group in enumerate(optimizer.param_groups):
        rates = torch.tensor([float(one.param_groups[place]["lr"]) for one in optimizers], dtype=torch.float64)
        group["lr"] = min(float(rates.max()), _MOST) or 1.0
        if fast and group.get("fused", False) is None:
            group["fused"] = True
        shares.append(rates / group["lr"])
    return _Part(optimizer, shares, numbers, begin)


def _over(
    optimizer: Optimizer, numbers: Sequence[Sequence[int]], stacked: Sequence[Tensor], begin: int, size: int
) -> Optimizer:
    """Return an optimizer like this one over those members of the stacked parameters."""
    parts = [[stacked[number].detach()[begin : begin + size] for number in some] for some in numbers]
    groups = [{**group, "params": own} for group, own in zip(optimizer.param_groups, parts, strict=True)]
    return remade(optimizer, groups)


def _cut(value: Any, chosen: Tensor) -> Any:
    """Return a copy of a part of an optimizer's state, for some members; a counter is common to all."""
    return value.index_select(0, chosen) if isinstance(value, Tensor) and value.dim() else value.clone()
