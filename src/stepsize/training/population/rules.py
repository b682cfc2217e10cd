"""One update of each optimizer, for all members of vectorized runs at once: a class per optimizer, and their table.

A rule works on tensors whose first axis is the members. Its numbers (lr, betas, …) are vectors of shape (K,) in double
precision; what the arithmetic on parameters needs of them is derived before it is rounded to their dtype, because
torch.optim derives it from Python floats: 1 − β₂ᵗ in single precision would be wrong in the fourth digit.

Plain operations with broadcasting: on the CPU the foreach ones were measured as no faster, within noise, on one thread
and slower on two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias, final

import torch
from torch import Tensor
from torch.optim import Optimizer

Vectors: TypeAlias = dict[str, Tensor]
State: TypeAlias = dict[str, Tensor]
Flags: TypeAlias = Mapping[str, Any]


class StackedRule(ABC):
    """How one class of optimizers updates a parameter; weight decay and ``maximize`` are the caller's.

    Members may differ in ``numbers``, lr and weight decay, and agree on ``flags`` and ``maximize``. State called
    ``zeros`` begins at zero. With ``decays`` the rule multiplies by ``shrink`` itself.
    """

    numbers: ClassVar[tuple[str, ...]] = ()
    flags: ClassVar[tuple[str, ...]] = ()
    zeros: ClassVar[tuple[str, ...]] = ()
    decays: ClassVar[bool] = False

    def read(self, group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
        """Return a group of an optimizer by the names that rules and their caller use."""
        del optimizer
        plain = {"maximize": False, "differentiable": False, **group}
        if "betas" in group:
            plain["beta1"], plain["beta2"] = group["betas"]
        return plain

    def begin(self, parameter: Tensor, vectors: Vectors, flags: Flags) -> State:
        """Return the state of a parameter before its first update."""
        del vectors, flags
        return {name: torch.zeros_like(parameter) for name in self.zeros}

    def constants(self, numbers: Vectors) -> Vectors:
        """Return what ``update`` needs of the numbers and never changes: shape (K,), double."""
        return {name: numbers[name] for name in self.numbers}

    def rates(self, numbers: Vectors, lr: Tensor, count: int) -> Vectors:
        """Return what changes from update to update, the first with count 1: shape (K,), double."""
        del numbers, count
        return {"descent": -lr}

    @abstractmethod
    def update(self, parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
        """Change parameter and state in place, given the gradient (scratch space) and all vectors, broadcast."""


@final
class _SGD(StackedRule):
    numbers = ("momentum", "dampening")
    flags = ("nesterov",)

    def constants(self, numbers: Vectors) -> Vectors:
        momentum = numbers["momentum"]
        share = torch.where(momentum == 0, 1.0, 1 - numbers["dampening"])  # without momentum torch does not dampen
        return {"momentum": momentum, "share": share}

    def update(self, parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
        direction = gradient
        if flags["momentum"]:
            if "velocity" in state:
                state["velocity"].mul_(vectors["momentum"]).addcmul_(gradient, vectors["share"])
            else:
                state["velocity"] = gradient.clone()  # the first gradient is not dampened
            velocity = state["velocity"]
            direction = gradient.addcmul_(velocity, vectors["momentum"]) if flags["nesterov"] else velocity
        parameter.addcmul_(direction, vectors["descent"])


@final
class _Adagrad(StackedRule):
    numbers = ("lr_decay", "initial_accumulator_value", "eps")

    def read(self, group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
        first = optimizer.defaults["initial_accumulator_value"]  # torch takes the constructor's for all groups
        return {**super().read(group, optimizer), "initial_accumulator_value": first}

    def begin(self, parameter: Tensor, vectors: Vectors, flags: Flags) -> State:
        del flags
        return {"sum": torch.zeros_like(parameter).add_(vectors["initial_accumulator_value"])}

    def rates(self, numbers: Vectors, lr: Tensor, count: int) -> Vectors:
        return {"descent": -lr / (1 + (count - 1) * numbers["lr_decay"])}

    def update(self, parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
        del flags
        deviation = state["sum"].addcmul_(gradient, gradient).sqrt().add_(vectors["eps"])
        parameter.addcdiv_(gradient.mul_(vectors["descent"]), deviation)


@final
class _RMSprop(StackedRule):
    numbers = ("alpha", "eps", "momentum")
    flags = ("centered",)

    def constants(self, numbers: Vectors) -> Vectors:
        return {"weight": 1 - numbers["alpha"], "eps": numbers["eps"], "momentum": numbers["momentum"]}

    def begin(self, parameter: Tensor, vectors: Vectors, flags: Flags) -> State:
        del vectors
        needed = {"square": True, "mean": flags["centered"], "velocity": flags["momentum"]}
        return {name: torch.zeros_like(parameter) for name, there in needed.items() if there}

    def update(self, parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
        square = state["square"].lerp_(gradient.square(), vectors["weight"])
        if flags["centered"]:
            mean = state["mean"].lerp_(gradient, vectors["weight"])
            square = square.addcmul(mean, mean, value=-1)
        deviation = square.sqrt().add_(vectors["eps"])
        if flags["momentum"]:
            velocity = state["velocity"].mul_(vectors["momentum"]).addcdiv_(gradient, deviation)
            parameter.addcmul_(velocity, vectors["descent"])
        else:
            parameter.addcdiv_(gradient.mul_(vectors["descent"]), deviation)


@final
class _Adam(StackedRule):
    numbers = ("beta1", "beta2", "eps")
    flags = ("amsgrad", "decoupled_weight_decay")

    def constants(self, numbers: Vectors) -> Vectors:
        return {"first_weight": 1 - numbers["beta1"], "second_weight": 1 - numbers["beta2"]}

    def begin(self, parameter: Tensor, vectors: Vectors, flags: Flags) -> State:
        del vectors
        names = ("first", "second", "largest") if flags["amsgrad"] else ("first", "second")
        return {name: torch.zeros_like(parameter) for name in names}

    def rates(self, numbers: Vectors, lr: Tensor, count: int) -> Vectors:
        # √(v/c) + ε = (√v + ε √c) / √c: √c goes to the members' numbers, which spares a pass over the parameters.
        root = (1 - numbers["beta2"] ** count).sqrt()
        return {"descent": -lr * root / (1 - numbers["beta1"] ** count), "eps": numbers["eps"] * root}

    def update(self, parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
        state["first"].lerp_(gradient, vectors["first_weight"])
        second = state["second"].lerp_(gradient.square_(), vectors["second_weight"])
        if flags["amsgrad"]:
            second = torch.maximum(state["largest"], second, out=state["largest"])
        deviation = torch.sqrt(second, out=gradient).add_(vectors["eps"])
        parameter.addcmul_(torch.div(state["first"], deviation, out=gradient), vectors["descent"])


RULES: dict[str, StackedRule] = {
    "torch.optim.sgd.SGD": _SGD(),
    "torch.optim.adagrad.Adagrad": _Adagrad(),
    "torch.optim.rmsprop.RMSprop": _RMSprop(),
    "torch.optim.adam.Adam": _Adam(),
    "torch.optim.adamw.AdamW": _Adam(),
}
"""By the full name of a class; a subclass may update otherwise, so it has none."""
