"""One update of each optimizer, for all members of vectorized runs at once: a function per optimizer, and their table.

Tensors have the members as their first axis. A number (lr, a beta, …) is a float, or a vector of shape (K,) in double
precision if members differ in it; what the arithmetic on parameters needs is derived before it is rounded to their
dtype, as in torch.optim: 1 − β₂ᵗ in single precision would be wrong in the fourth digit.

Plain operations with broadcasting: on the CPU the foreach ones were measured as no faster, within noise, on one thread
and slower on two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

Number: TypeAlias = float | Tensor
Numbers: TypeAlias = dict[str, Number]


@dataclass
class Slot:
    """A stacked parameter and what its update needs: state, gradient (scratch space), and numbers of its group."""

    parameter: Tensor
    group: int
    count: int = 0  # updates that the parameter had, the present one included; it skips those without a gradient
    state: dict[str, Tensor] = field(default_factory=dict)
    gradient: Tensor = field(default_factory=lambda: torch.empty(0))
    numbers: Numbers = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Number:
        """Return a number of its group."""
        return self.numbers[name]

    def kept(self, name: str) -> Tensor:
        """Return a part of the state, which begins at zero."""
        if name not in self.state:
            self.state[name] = torch.zeros_like(self.parameter)
        return self.state[name]

    def cast(self, number: Number) -> Any:
        """Return a number; a vector in the dtype of the parameter, broadcast to it."""
        if not isinstance(number, Tensor):
            return number
        return number.to(self.parameter.dtype).view(-1, *[1] * (self.parameter.dim() - 1))

    def descend(self, direction: Tensor, rate: Number) -> None:
        """Follow a direction downwards; the rate is a vector, as ``lr`` always is."""
        self.parameter.addcmul_(direction, self.cast(-rate))


@dataclass(frozen=True)
class StackedRule:
    """How one class of optimizers updates a parameter, weight decay and ``maximize`` aside, which are the caller's.

    Members may differ in ``numbers``, lr and weight decay, and agree on ``flags`` and ``maximize``. With ``decays`` the
    rule shrinks the parameter itself, by the number ``shrink``.
    """

    update: Callable[[Slot], None]
    numbers: tuple[str, ...]
    flags: tuple[str, ...] = ()
    decays: bool = False
    read: Callable[[Optimizer, Mapping[str, Any]], Mapping[str, Any]] = lambda optimizer, group: group


def _sgd(slot: Slot) -> None:
    direction, momentum = slot.gradient, slot["momentum"]
    if slot.flags["momentum"]:
        if "velocity" in slot.state:
            share = 1 - slot["dampening"]
            if isinstance(momentum, Tensor):  # without momentum torch does not dampen
                share = torch.where(momentum == 0, torch.ones_like(momentum), share)
            slot.state["velocity"].mul_(slot.cast(momentum)).add_(direction * slot.cast(share))
        else:
            slot.state["velocity"] = direction.clone()  # the first gradient is not dampened
        velocity = slot.state["velocity"]
        direction = direction.add_(velocity * slot.cast(momentum)) if slot.flags["nesterov"] else velocity
    slot.descend(direction, slot["lr"])


def _adagrad(slot: Slot) -> None:
    if not slot.state:
        slot.kept("sum").add_(slot.cast(slot["initial_accumulator_value"]))
    deviation = slot.state["sum"].addcmul_(slot.gradient, slot.gradient).sqrt().add_(slot.cast(slot["eps"]))
    slot.descend(slot.gradient.div_(deviation), slot["lr"] / (1 + (slot.count - 1) * slot["lr_decay"]))


def _rmsprop(slot: Slot) -> None:
    gradient, weight = slot.gradient, slot.cast(1 - slot["alpha"])
    square = slot.kept("square").lerp_(gradient.square(), weight)
    if slot.flags["centered"]:
        mean = slot.kept("mean").lerp_(gradient, weight)
        square = square.addcmul(mean, mean, value=-1)
    direction = gradient.div_(square.sqrt().add_(slot.cast(slot["eps"])))
    if slot.flags["momentum"]:
        direction = slot.kept("velocity").mul_(slot.cast(slot["momentum"])).add_(direction)
    slot.descend(direction, slot["lr"])


def _adam(slot: Slot) -> None:
    beta1, beta2 = slot["beta1"], slot["beta2"]
    first = slot.kept("first").lerp_(slot.gradient, slot.cast(1 - beta1))
    second = slot.kept("second").lerp_(slot.gradient.square_(), slot.cast(1 - beta2))
    if slot.flags["amsgrad"]:
        second = torch.maximum(slot.kept("largest"), second, out=slot.kept("largest"))
    # √(v/c) + ε = (√v + ε √c) / √c: √c goes to the members' numbers, which spares a pass over the parameters.
    root = (1 - beta2**slot.count) ** 0.5
    deviation = torch.sqrt(second, out=slot.gradient).add_(slot.cast(slot["eps"] * root))
    slot.descend(torch.div(first, deviation, out=slot.gradient), slot["lr"] * root / (1 - beta1**slot.count))


def with_betas(optimizer: Optimizer, group: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a group with its betas by name."""
    del optimizer
    return {**group, "beta1": group["betas"][0], "beta2": group["betas"][1]}


def _with_first_sum(optimizer: Optimizer, group: Mapping[str, Any]) -> Mapping[str, Any]:
    name = "initial_accumulator_value"  # of which torch takes the constructor's for all groups
    return {**group, name: optimizer.defaults[name]}


_ADAM = StackedRule(_adam, ("beta1", "beta2", "eps"), ("amsgrad", "decoupled_weight_decay"), read=with_betas)
RULES: dict[type[Optimizer], StackedRule] = {
    SGD: StackedRule(_sgd, ("momentum", "dampening"), ("nesterov",)),
    Adagrad: StackedRule(_adagrad, ("lr_decay", "initial_accumulator_value", "eps"), read=_with_first_sum),
    RMSprop: StackedRule(_rmsprop, ("alpha", "eps", "momentum"), ("centered",)),
    Adam: _ADAM,
    AdamW: _ADAM,
}
"""By class; a subclass may update otherwise, so it has none."""
