"""One optimizer for vectorized runs: K ordinary torch optimizers as operations on stacked tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepsize.errors import NotStackableError
from stepsize.training.population.rules import RULES, StackedRule, State, Vectors


@dataclass
class _Group:
    """A parameter group of all members: their numbers, shape (K,), in double precision."""

    numbers: Vectors
    flags: dict[str, Any]


@dataclass
class _Slot:
    """A stacked parameter, its state and what its updates need of the numbers, broadcast to it."""

    parameter: Tensor
    group: int
    count: int = 0  # updates that the parameter had; it skips those without a gradient
    state: State = field(default_factory=dict)
    constants: Vectors = field(default_factory=dict)

    def broadcast(self, vectors: Mapping[str, Tensor]) -> Vectors:
        parameter = self.parameter
        shape = (len(parameter),) + (1,) * (parameter.dim() - 1)
        return {name: vector.to(parameter.dtype).view(shape) for name, vector in vectors.items()}


def stack_optimizers(
    optimizers: Sequence[Optimizer],
    members: Sequence[Sequence[Tensor]],
    stacked: Sequence[Tensor],
    rules: Mapping[str, StackedRule] = RULES,
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
    slots = [None if place is None else _Slot(p, place) for p, place in zip(stacked, places[0], strict=True)]
    return StackedOptimizer(rule, groups, slots)


@final
class StackedOptimizer:
    """Updates the stacked parameters of K members, each by its own hyper-parameters; made by `stack_optimizers`."""

    def __init__(self, rule: StackedRule, groups: Sequence[_Group], slots: Sequence[_Slot | None]) -> None:
        self._rule = rule
        self._groups = list(groups)
        self._slots = list(slots)
        self._derive()

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], factors: float | Tensor = 1.0) -> None:
        """Update all members in place at factors × their peak rates; the gradients are overwritten."""
        known: dict[tuple[int, int, torch.dtype], Vectors] = {}
        lrs = [_times(group.numbers["lr"], factors) for group in self._groups]
        for slot, gradient in zip(self._slots, gradients, strict=True):
            if slot is None or gradient is None:
                continue
            if not slot.count:
                slot.state = self._rule.begin(slot.parameter, slot.constants, self._groups[slot.group].flags)
            slot.count += 1
            key = (slot.group, slot.count, slot.parameter.dtype)
            if key not in known:
                known[key] = self._rates(slot, lrs[slot.group])
            self._update(slot, gradient, known[key])

    @torch.no_grad()
    def keep(self, members: Tensor, stacked: Sequence[Tensor]) -> None:
        """Continue with ``members`` (indices) only; ``stacked`` holds their parameters, for later steps."""
        for group in self._groups:
            group.numbers = _cut(group.numbers, members)
        for slot, parameter in zip(self._slots, stacked, strict=True):
            if slot is not None:
                slot.parameter = parameter
                slot.state = _cut(slot.state, members)
        self._derive()

    def forked(self, members: Tensor, stacked: Sequence[Tensor]) -> StackedOptimizer:
        """Return an optimizer that continues with ``members``, which may repeat; this one stays as it is."""
        slots = [None if slot is None else replace(slot) for slot in self._slots]
        other = StackedOptimizer(self._rule, [replace(group) for group in self._groups], slots)
        other.keep(members, stacked)
        return other

    def _derive(self) -> None:
        """Compute what the updates need of the numbers, once."""
        found = [
            {**self._rule.constants(group.numbers), "weight_decay": group.numbers["weight_decay"]}
            for group in self._groups
        ]
        for slot in self._slots:
            if slot is not None:
                slot.constants = slot.broadcast(found[slot.group])

    def _rates(self, slot: _Slot, lr: Tensor) -> Vectors:
        """Return what depends on the rates of this update, shape (K,), in the dtype of the parameter."""
        group = self._groups[slot.group]
        found = self._rule.rates(group.numbers, lr, slot.count)
        if group.flags["decays"] and group.flags.get("decoupled_weight_decay"):
            decay = group.numbers["weight_decay"]
            found["shrink"] = 1 - decay if group.flags.get("fixed_decay") else 1 - lr * decay
        return {name: vector.to(slot.parameter.dtype) for name, vector in found.items()}

    def _update(self, slot: _Slot, gradient: Tensor, rates: Vectors) -> None:
        flags, parameter = self._groups[slot.group].flags, slot.parameter
        vectors = {**slot.constants, **slot.broadcast(rates)}
        if flags["maximize"]:
            gradient.neg_()
        if "shrink" in vectors:
            if not self._rule.decays:
                parameter.mul_(vectors["shrink"])
        elif flags["decays"]:
            gradient.addcmul_(parameter, vectors["weight_decay"])
        self._rule.update(parameter, gradient, slot.state, vectors, flags)


def _times(peaks: Tensor, factors: float | Tensor) -> Tensor:
    return peaks * (factors.to(peaks) if isinstance(factors, Tensor) else factors)


def _cut(tensors: Mapping[str, Tensor], members: Tensor) -> dict[str, Tensor]:
    return {name: tensor.index_select(0, members.to(tensor.device)) for name, tensor in tensors.items()}


def _rule(optimizers: Sequence[Optimizer], rules: Mapping[str, StackedRule]) -> StackedRule:
    kind = type(optimizers[0])
    if any(type(optimizer) is not kind for optimizer in optimizers):
        names = sorted({type(optimizer).__name__ for optimizer in optimizers})
        raise NotStackableError(f"the members have optimizers of different classes: {', '.join(names)}")
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name not in rules:
        known = ", ".join(each.rpartition(".")[2] for each in rules)
        raise NotStackableError(f"{name} has no stacked form; these do: {known}")
    if any(_stepped(optimizer) for optimizer in optimizers):
        raise NotStackableError("an optimizer was stepped before, and its state would be dropped")
    return rules[name]


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
    groups = [rule.read(optimizer.param_groups[index], optimizer) for optimizer in optimizers]
    flags = {name: _agreed(name, groups) for name in (*rule.flags, "maximize")}
    if any(group["differentiable"] for group in groups):
        raise NotStackableError("differentiable=True: a stacked step is not recorded by autograd")
    read = {name: [float(group[name]) for group in groups] for name in ("lr", "weight_decay", *rule.numbers)}
    flags["decays"] = any(read["weight_decay"])
    flags["momentum"] = any(read.get("momentum", ()))
    dtype = torch.float32 if device.type == "mps" else torch.float64  # mps has no double
    return _Group({name: torch.tensor(own, device=device, dtype=dtype) for name, own in read.items()}, flags)


def _agreed(name: str, groups: Sequence[Mapping[str, Any]]) -> Any:
    values = {group[name] for group in groups}
    if len(values) > 1:
        raise NotStackableError(f"the members' optimizers differ in {name}, on which a population must agree")
    return values.pop()
