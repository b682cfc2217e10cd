"""One optimizer for vectorized runs: K ordinary torch optimizers as operations on stacked tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepsize.errors import NotStackableError
from stepsize.training.population.rules import RULES, Numbers, Slot, StackedRule


@dataclass
class _Group:
    """A parameter group of all members; ``lr`` is a vector even if they agree on it."""

    lr: Tensor
    numbers: Numbers
    flags: dict[str, Any]

    def at(self, factors: float | Tensor) -> Numbers:
        """Return the numbers of an update at factors × the peak rates."""
        lr = self.lr * (factors.to(self.lr) if isinstance(factors, Tensor) else factors)
        shrink = 1 - lr * self.numbers["weight_decay"]
        return {**self.numbers, "lr": lr, "shrink": shrink}


def stack_optimizers(
    optimizers: Sequence[Optimizer],
    members: Sequence[Sequence[Tensor]],
    stacked: Sequence[Tensor],
    rules: Mapping[type[Optimizer], StackedRule] = RULES,
) -> StackedOptimizer:
    """Return one optimizer that updates all members as their own torch optimizers would, but for rounding.

    ``stacked`` holds the parameters of all ``members``, shape (K, *shape) each. The optimizers, one per member, are
    only read: their classes, and the hyperparameters of each group, in which members may differ. NotStackableError if
    they are of a class without a rule, differ in more than numbers, or were stepped before.
    """
    for whole in stacked:
        if whole.dtype not in (torch.float32, torch.float64):
            raise NotStackableError(f"parameters of {whole.dtype} cannot be stacked, only of float32 and float64")
    rule = _rule(optimizers, rules)
    places = [_places(optimizer, own) for optimizer, own in zip(optimizers, members, strict=True)]
    counts = {len(optimizer.param_groups) for optimizer in optimizers}
    if len(counts) > 1 or any(place != places[0] for place in places):
        raise NotStackableError("the members' optimizers divide the parameters into different groups")
    groups = [_group(rule, optimizers, index, stacked[0].device) for index in range(counts.pop())]
    slots = [None if place is None else Slot(p, place) for p, place in zip(stacked, places[0], strict=True)]
    return StackedOptimizer(rule, groups, slots)


@final
class StackedOptimizer:
    """Updates the stacked parameters of K members, each by its own hyper-parameters; made by `stack_optimizers`."""

    def __init__(self, rule: StackedRule, groups: Sequence[_Group], slots: Sequence[Slot | None]) -> None:
        self._rule = rule
        self._groups = list(groups)
        self.slots = list(slots)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], factors: float | Tensor = 1.0) -> None:
        """Update all members in place at factors × their peak rates; the gradients are overwritten."""
        numbers = [group.at(factors) for group in self._groups]
        for slot, gradient in zip(self.slots, gradients, strict=True):
            if slot is None or gradient is None:
                continue
            slot.count += 1
            slot.gradient, slot.numbers = gradient, numbers[slot.group]
            slot.flags = self._groups[slot.group].flags
            self._decay(slot)
            self._rule.update(slot)

    @torch.no_grad()
    def forked(self, members: Tensor, stacked: Sequence[Tensor]) -> StackedOptimizer:
        """Return an optimizer that continues with ``members`` (indices, which may repeat); this one stays as it is.

        ``stacked`` holds their parameters.
        """
        groups = [
            replace(group, lr=_cut(group.lr, members), numbers=_all_cut(group.numbers, members))
            for group in self._groups
        ]
        slots = [
            None if slot is None else replace(slot, parameter=parameter, state=_all_cut(slot.state, members))
            for slot, parameter in zip(self.slots, stacked, strict=True)
        ]
        return StackedOptimizer(self._rule, groups, slots)

    def _decay(self, slot: Slot) -> None:
        if slot.flags["maximize"]:
            slot.gradient.neg_()
        if not slot.flags["decays"]:
            return
        if not slot.flags.get("decoupled_weight_decay"):
            slot.gradient.add_(slot.parameter * slot.cast(slot["weight_decay"]))
        elif not self._rule.decays:
            slot.parameter.mul_(slot.cast(slot["shrink"]))


def _cut(number: Any, members: Tensor) -> Any:
    return number.index_select(0, members.to(number.device)) if isinstance(number, Tensor) else number


def _all_cut(numbers: Mapping[str, Any], members: Tensor) -> dict[str, Any]:
    return {name: _cut(number, members) for name, number in numbers.items()}


def _rule(optimizers: Sequence[Optimizer], rules: Mapping[type[Optimizer], StackedRule]) -> StackedRule:
    kind = type(optimizers[0])
    if any(type(optimizer) is not kind for optimizer in optimizers):
        names = sorted({type(optimizer).__name__ for optimizer in optimizers})
        raise NotStackableError(f"the members have optimizers of different classes: {', '.join(names)}")
    if kind not in rules:
        known = ", ".join(each.__name__ for each in rules)
        raise NotStackableError(f"{kind.__module__}.{kind.__qualname__} has no stacked form; these do: {known}")
    if any(_stepped(optimizer) for optimizer in optimizers):
        raise NotStackableError("an optimizer was stepped before, and its state would be dropped")
    return rules[kind]


def _stepped(optimizer: Optimizer) -> bool:
    states = optimizer.state.values()
    return any(float(state["step"]) > 0 if "step" in state else bool(state) for state in states)


def _places(optimizer: Optimizer, own: Sequence[Tensor]) -> list[int | None]:
    """Return the group that each of a member's parameters is in, None for those that are not trained."""
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        raise NotStackableError("the optimizer has step hooks, which a stacked step would not call")
    found = {id(p): index for index, group in enumerate(optimizer.param_groups) for p in group["params"]}
    places = [found.pop(id(parameter), None) for parameter in own]
    if found:
        raise NotStackableError("the optimizer also trains parameters that are not the member's own")
    return places


def _group(rule: StackedRule, optimizers: Sequence[Optimizer], index: int, device: torch.device) -> _Group:
    groups = [rule.read(optimizer, {"maximize": False, **optimizer.param_groups[index]}) for optimizer in optimizers]
    flags = {name: _agreed(name, groups) for name in (*rule.flags, "maximize")}
    if any(group.get("differentiable") for group in groups):
        raise NotStackableError("differentiable=True: a stacked step is not recorded by autograd")
    read = {name: [float(group[name]) for group in groups] for name in ("weight_decay", *rule.numbers)}
    flags["decays"] = any(read["weight_decay"])
    flags["momentum"] = any(read.get("momentum", ()))
    dtype = torch.float32 if device.type == "mps" else torch.float64  # mps has no double

    def vector(values: list[float]) -> Tensor:
        return torch.tensor(values, device=device, dtype=dtype)

    numbers: Numbers = {name: own[0] if len({*own}) == 1 else vector(own) for name, own in read.items()}
    return _Group(vector([float(group["lr"]) for group in groups]), numbers, flags)


def _agreed(name: str, groups: Sequence[Mapping[str, Any]]) -> Any:
    values = {group[name] for group in groups}
    if len(values) > 1:
        raise NotStackableError(f"the members' optimizers differ in {name}, on which a population must agree")
    return values.pop()
