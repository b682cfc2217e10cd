"""What one update of each optimizer is, for all members of a population at once: a table, one entry a class.

A rule works on tensors whose first axis is the members. Its numbers (lr, betas, …) are vectors of shape (K,) in double
precision; what the arithmetic on parameters needs of them is derived before it is rounded to their dtype, because
torch.optim derives it from Python floats: 1 − β₂ᵗ in single precision would be wrong in the fourth digit.

Plain operations with broadcasting: on the CPU the foreach ones were measured as no faster, within noise, on one thread
and slower on two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, NAdam, Optimizer, RAdam, RMSprop

__all__ = ["RULES", "Flags", "Rule", "State", "Vectors", "only_lr", "plain_group"]

Vectors: TypeAlias = dict[str, Tensor]
State: TypeAlias = dict[str, Tensor]
Flags: TypeAlias = Mapping[str, Any]


def plain_group(group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Return a parameter group by the names that rules and their caller use."""
    plain = {"maximize": False, "differentiable": False, **group}
    if "betas" in group:
        plain["beta1"], plain["beta2"] = group["betas"]
    if "initial_accumulator_value" in group:  # torch's Adagrad takes the constructor's for all groups
        plain["initial_accumulator_value"] = optimizer.defaults["initial_accumulator_value"]
    return plain


@dataclass(frozen=True)
class Rule:
    """How one class of optimizers updates a parameter; weight decay and ``maximize`` are the caller's.

    Attributes:
        numbers: Keys of a group's hyper-parameters that may differ between members, beside lr and weight decay.
        begin: Gives the state of a parameter before its first update.
        rates: From the numbers, the rates of this update, its number from 1 and the state, all that changes from
            update to update: shape (K,), double.
        update: Changes parameter and state in place, given the gradient and all vectors, broadcast; the gradient
            is scratch space: for many members the memory that temporaries take costs more than the arithmetic.
        constants: From the numbers, what ``update`` needs and never changes: shape (K,), double.
        flags: Keys of what all members must agree on, beside ``maximize``.
        shared: Whether ``rates`` leaves the state alone, so that one call serves all parameters of a group.
        read: Gives a group of an optimizer by the names above, and ``decoupled_weight_decay`` where the class knows
            it under another name.
        decays: Whether ``update`` multiplies the parameter by ``shrink`` itself, and not the caller before it.
    """

    numbers: tuple[str, ...]
    begin: Callable[[Tensor, Vectors, Flags], State]
    rates: Callable[[Vectors, Tensor, int, State], Vectors]
    update: Callable[[Tensor, Tensor, State, Vectors, Flags], None]
    constants: Callable[[Vectors], Vectors]
    flags: tuple[str, ...] = ()
    shared: bool = True
    read: Callable[[Mapping[str, Any], Optimizer], Mapping[str, Any]] = plain_group
    decays: bool = False


def only_lr(_numbers: Vectors, lr: Tensor, _count: int, _state: State) -> Vectors:
    """Return the rates of a rule that nothing changes from update to update but lr."""
    return {"descent": -lr}


def _moments(parameter: Tensor, _vectors: Vectors, flags: Flags) -> State:
    names = ("first", "second", "largest") if flags.get("amsgrad") else ("first", "second")
    return {name: torch.zeros_like(parameter) for name in names}


def _moment_weights(numbers: Vectors) -> Vectors:
    return {"first_weight": 1 - numbers["beta1"], "second_weight": 1 - numbers["beta2"]}


def _average(gradient: Tensor, state: State, vectors: Vectors) -> None:
    """Average the gradient and its square, which is left in its place."""
    state["first"].lerp_(gradient, vectors["first_weight"])
    state["second"].lerp_(gradient.square_(), vectors["second_weight"])


# SGD -----------------------------------------------------------------------------------------------------------------


def _sgd_constants(numbers: Vectors) -> Vectors:
    momentum = numbers["momentum"]
    share = torch.where(momentum == 0, 1.0, 1 - numbers["dampening"])  # without momentum torch does not dampen
    return {"momentum": momentum, "share": share}


def _sgd_begin(_parameter: Tensor, _vectors: Vectors, _flags: Flags) -> State:
    return {}


def _sgd_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
    direction = gradient
    if flags["momentum"]:
        if "velocity" in state:
            state["velocity"].mul_(vectors["momentum"]).addcmul_(gradient, vectors["share"])
        else:
            state["velocity"] = gradient.clone()  # the first gradient is not dampened
        velocity = state["velocity"]
        direction = gradient.addcmul_(velocity, vectors["momentum"]) if flags["nesterov"] else velocity
    parameter.addcmul_(direction, vectors["descent"])


# Adagrad, RMSprop, Adadelta ------------------------------------------------------------------------------------------


def _adagrad_constants(numbers: Vectors) -> Vectors:
    return {"start": numbers["initial_accumulator_value"], "eps": numbers["eps"]}


def _adagrad_begin(parameter: Tensor, vectors: Vectors, _flags: Flags) -> State:
    return {"sum": torch.zeros_like(parameter).add_(vectors["start"])}


def _adagrad_rates(numbers: Vectors, lr: Tensor, count: int, _state: State) -> Vectors:
    return {"descent": -lr / (1 + (count - 1) * numbers["lr_decay"])}


def _adagrad_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, _flags: Flags) -> None:
    deviation = state["sum"].addcmul_(gradient, gradient).sqrt().add_(vectors["eps"])
    parameter.addcdiv_(gradient.mul_(vectors["descent"]), deviation)


def _rmsprop_constants(numbers: Vectors) -> Vectors:
    return {"weight": 1 - numbers["alpha"], "eps": numbers["eps"], "momentum": numbers["momentum"]}


def _rmsprop_begin(parameter: Tensor, _vectors: Vectors, flags: Flags) -> State:
    wanted = {"square": True, "mean": flags["centered"], "velocity": flags["momentum"]}
    return {name: torch.zeros_like(parameter) for name, there in wanted.items() if there}


def _rmsprop_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
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


def _adadelta_constants(numbers: Vectors) -> Vectors:
    return {"weight": 1 - numbers["rho"], "eps": numbers["eps"]}


def _adadelta_begin(parameter: Tensor, _vectors: Vectors, _flags: Flags) -> State:
    return {name: torch.zeros_like(parameter) for name in ("square", "moved")}


def _adadelta_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, _flags: Flags) -> None:
    deviation = state["square"].lerp_(gradient.square(), vectors["weight"]).add(vectors["eps"]).sqrt_()
    move = state["moved"].add(vectors["eps"]).sqrt_().div_(deviation).mul_(gradient)
    state["moved"].lerp_(move.square(), vectors["weight"])
    parameter.addcmul_(move, vectors["descent"])


# Adam and its kin ----------------------------------------------------------------------------------------------------


def _adam_rates(numbers: Vectors, lr: Tensor, count: int, _state: State) -> Vectors:
    # √(v/c) + ε = (√v + ε √c) / √c: √c goes to the members' numbers, which spares a pass over the parameters.
    root = (1 - numbers["beta2"] ** count).sqrt()
    return {"descent": -lr * root / (1 - numbers["beta1"] ** count), "eps": numbers["eps"] * root}


def _adam_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
    _average(gradient, state, vectors)
    second = state["second"]
    if flags["amsgrad"]:
        torch.maximum(state["largest"], second, out=state["largest"])
        second = state["largest"]
    deviation = torch.sqrt(second, out=gradient).add_(vectors["eps"])
    parameter.addcmul_(torch.div(state["first"], deviation, out=gradient), vectors["descent"])


def _nadam_begin(parameter: Tensor, vectors: Vectors, flags: Flags) -> State:
    # torch holds the product of all μ in its default dtype, whatever the parameter's is; so does this.
    product = torch.ones(len(parameter), device=parameter.device, dtype=torch.get_default_dtype())
    return {**_moments(parameter, vectors, flags), "product": product}


def _nadam_rates(numbers: Vectors, lr: Tensor, count: int, state: State) -> Vectors:
    beta1, decay = numbers["beta1"], numbers["momentum_decay"]
    now = beta1 * (1 - 0.5 * 0.96 ** (count * decay))
    after = beta1 * (1 - 0.5 * 0.96 ** ((count + 1) * decay))
    product = state["product"].mul_(now.to(state["product"].dtype)).to(now.dtype)
    root = (1 - numbers["beta2"] ** count).sqrt()
    return {
        "by_gradient": -lr * root * (1 - now) / (1 - product),
        "by_first": -lr * root * after / (1 - product * after),
        "eps": numbers["eps"] * root,
    }


def _nadam_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, _flags: Flags) -> None:
    direction = gradient * vectors["by_gradient"]
    _average(gradient, state, vectors)
    direction.addcmul_(state["first"], vectors["by_first"])
    parameter.addcdiv_(direction, torch.sqrt(state["second"], out=gradient).add_(vectors["eps"]))


def _radam_rates(numbers: Vectors, lr: Tensor, count: int, _state: State) -> Vectors:
    power = numbers["beta2"] ** count
    limit = 2 / (1 - numbers["beta2"]) - 1
    length = limit - 2 * count * power / (1 - power)
    square = (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length)
    long = length > 5
    descent = -lr / (1 - numbers["beta1"] ** count)
    # A member whose average is still short divides by 1 = 0·√v + 1; one expression serves both kinds.
    return {
        "descent": torch.where(long, descent * (square * (1 - power)).sqrt(), descent),
        "adapts": long.to(lr.dtype),
        "added": torch.where(long, numbers["eps"], 1.0),
    }


def _radam_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, _flags: Flags) -> None:
    _average(gradient, state, vectors)
    divisor = torch.sqrt(state["second"], out=gradient).mul_(vectors["adapts"]).add_(vectors["added"])
    parameter.addcmul_(torch.div(state["first"], divisor, out=gradient), vectors["descent"])


def _adamax_constants(numbers: Vectors) -> Vectors:
    return {"first_weight": 1 - numbers["beta1"], "beta2": numbers["beta2"], "eps": numbers["eps"]}


def _adamax_begin(parameter: Tensor, _vectors: Vectors, _flags: Flags) -> State:
    return {name: torch.zeros_like(parameter) for name in ("first", "largest")}


def _adamax_rates(numbers: Vectors, lr: Tensor, count: int, _state: State) -> Vectors:
    return {"descent": -lr / (1 - numbers["beta1"] ** count)}


def _adamax_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, _flags: Flags) -> None:
    state["first"].lerp_(gradient, vectors["first_weight"])
    largest = state["largest"].mul_(vectors["beta2"])
    torch.maximum(largest, gradient.abs_().add_(vectors["eps"]), out=largest)
    parameter.addcmul_(torch.div(state["first"], largest, out=gradient), vectors["descent"])


# The table -----------------------------------------------------------------------------------------------------------

_BETAS = ("beta1", "beta2", "eps")
_DECOUPLED = ("decoupled_weight_decay",)
_ADAM = Rule(_BETAS, _moments, _adam_rates, _adam_update, _moment_weights, ("amsgrad", *_DECOUPLED))

RULES: dict[type[Optimizer], Rule] = {
    SGD: Rule(("momentum", "dampening"), _sgd_begin, only_lr, _sgd_update, _sgd_constants, ("nesterov",)),
    Adagrad: Rule(
        ("lr_decay", "initial_accumulator_value", "eps"),
        _adagrad_begin,
        _adagrad_rates,
        _adagrad_update,
        _adagrad_constants,
    ),
    RMSprop: Rule(
        ("alpha", "eps", "momentum"), _rmsprop_begin, only_lr, _rmsprop_update, _rmsprop_constants, ("centered",)
    ),
    Adadelta: Rule(("rho", "eps"), _adadelta_begin, only_lr, _adadelta_update, _adadelta_constants),
    Adam: _ADAM,
    AdamW: _ADAM,
    NAdam: Rule(
        (*_BETAS, "momentum_decay"), _nadam_begin, _nadam_rates, _nadam_update, _moment_weights, _DECOUPLED, False
    ),
    RAdam: Rule(_BETAS, _moments, _radam_rates, _radam_update, _moment_weights, _DECOUPLED),
    Adamax: Rule(_BETAS, _adamax_begin, _adamax_rates, _adamax_update, _adamax_constants),
}
