"""One optimizer for vectorized runs: K ordinary torch optimizers as operations on stacked tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from stepsize.errors import InputError, NotStackableError
from stepsize.training.population.rules import StackedRule, State, Vectors, find_rule, stackable


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
    optimizers: Sequence[Optimizer], members: Sequence[Sequence[Tensor]], stacked: Sequence[Tensor]
) -> StackedOptimizer:
    """Return one optimizer that updates all members at once, made of K torch optimizers.

    Each member's updates equal those of its own torch optimizer but for rounding (which is that of bfloat16 in Muon,
    since torch iterates in it). The given optimizers are only read: their classes, and the hyperparameters of each
    group, in which members may differ.

    Args:
        optimizers: One per member, built over that member's parameters and never stepped.
        members: Parameters of each member, in the order of ``stacked``.
        stacked: Parameters of all members, shape (K, *shape) each, float32 or float64; changed in place by steps.
            Those that no optimizer holds are not changed.

    Raises:
        NotStackableError: If the optimizers are of a class without a rule, differ in more than numbers, or have been
            stepped before.
        InputError: If numbers or shapes of the arguments do not fit together.

    Example:
        >>> members = [[torch.ones(3)] for _ in range(2)]
        >>> optimizers = [torch.optim.SGD(own, lr=lr) for own, lr in zip(members, (0.1, 0.5))]
        >>> stacked = [torch.ones(2, 3)]
        >>> stack_optimizers(optimizers, members, stacked).step([torch.ones(2, 3)])
        >>> stacked[0]
        tensor([[0.9000, 0.9000, 0.9000],
                [0.5000, 0.5000, 0.5000]])
    """
    _check_shapes(optimizers, members, stacked)
    rule = _rule(optimizers)
    places = [_places(optimizer, own) for optimizer, own in zip(optimizers, members, strict=True)]
    counts = {len(optimizer.param_groups) for optimizer in optimizers}
    if len(counts) > 1 or any(place != places[0] for place in places):
        raise NotStackableError("the members' optimizers divide the parameters into different groups")
    groups = [_group(rule, optimizers, index, stacked[0].device) for index in range(counts.pop())]
    slots = [None if place is None else _Slot(p, place) for p, place in zip(stacked, places[0], strict=True)]
    return StackedOptimizer(rule, groups, slots, len(optimizers))


@final
class StackedOptimizer:
    """Updates the stacked parameters of K members, each by its own hyper-parameters; made by `stack_optimizers`."""

    def __init__(self, rule: StackedRule, groups: Sequence[_Group], slots: Sequence[_Slot | None], size: int) -> None:
        self._rule = rule
        self._groups = list(groups)
        self._slots = list(slots)
        self._size = size
        self._derive()

    @property
    def size(self) -> int:
        """K."""
        return self._size

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor | None], factors: float | Tensor = 1.0) -> None:
        """Update all members once, in place.

        Args:
            gradients: One per stacked parameter and of its shape; they are overwritten. A parameter
                whose gradient is None keeps its value and its state, as in torch.
            factors: Factor of the peak rates in this update, or one per member, shape (K,).

        Raises:
            InputError: If the gradients do not have the parameters' number and shapes, or there are not as many factors
                as members; nothing is changed then.
        """
        if len(gradients) != len(self._slots):
            raise InputError("gradients", len(gradients), f"must be {len(self._slots)}, one per stacked parameter")
        for slot, gradient in zip(self._slots, gradients, strict=True):
            if slot is not None and gradient is not None and gradient.shape != slot.parameter.shape:
                raise InputError("gradients", tuple(gradient.shape), f"must have {tuple(slot.parameter.shape)} here")
        if isinstance(factors, Tensor) and factors.shape not in ((), (self._size,)):
            raise InputError("factors", tuple(factors.shape), f"must be one, or of shape ({self._size},)")
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
        if len(stacked) != len(self._slots):
            raise InputError("stacked", len(stacked), f"must be {len(self._slots)} parameters")
        for slot, parameter in zip(self._slots, stacked, strict=True):
            wanted = None if slot is None else (len(members), *slot.parameter.shape[1:])
            if wanted is not None and tuple(parameter.shape) != wanted:
                raise InputError("stacked", tuple(parameter.shape), f"must hold a parameter of shape {wanted}")
        self._size = len(members)
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
        other = StackedOptimizer(self._rule, [replace(group) for group in self._groups], slots, self._size)
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


def _check_shapes(
    optimizers: Sequence[Optimizer], members: Sequence[Sequence[Tensor]], stacked: Sequence[Tensor]
) -> None:
    if not optimizers or not stacked:
        raise InputError("optimizers" if stacked else "stacked", 0, "must not be empty")
    if len(members) != len(optimizers):
        raise InputError("members", len(members), f"must be {len(optimizers)}, one per optimizer")
    for own in members:
        if len(own) != len(stacked):
            raise InputError("members", len(own), f"must have {len(stacked)} parameters each, as stacked does")
        for parameter, whole in zip(own, stacked, strict=True):
            wanted = (len(members), *parameter.shape)
            if tuple(whole.shape) != wanted:
                raise InputError("stacked", tuple(whole.shape), f"must hold a parameter of shape {wanted}")
    for whole in stacked:
        if whole.dtype not in (torch.float32, torch.float64):
            raise NotStackableError(f"parameters of {whole.dtype} cannot be stacked, only of float32 and float64")


def _rule(optimizers: Sequence[Optimizer]) -> StackedRule:
    kind = type(optimizers[0])
    if any(type(optimizer) is not kind for optimizer in optimizers):
        names = sorted({type(optimizer).__name__ for optimizer in optimizers})
        raise NotStackableError(f"the members have optimizers of different classes: {', '.join(names)}")
    if isinstance(optimizers[0], LBFGS):
        raise NotStackableError(f"{kind.__name__} evaluates the loss within a step, through a closure")
    rule = find_rule(kind)
    if rule is None:
        known = ", ".join(stackable())
        raise NotStackableError(f"{kind.__module__}.{kind.__qualname__} has no stacked form; these do: {known}")
    if any(_stepped(optimizer) for optimizer in optimizers):
        raise NotStackableError("an optimizer was stepped before, and its state would be dropped")
    return rule


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
