"""What one update of further optimizers is, for all members at once: Adafactor, Muon, ASGD, Rprop, Lion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import ASGD, Optimizer, Rprop

from stepsize.errors import NotStackableError
from stepsize.training.population.rules import Flags, Rule, State, Vectors, only_lr, plain_group

__all__ = ["MORE_RULES", "NAMED_RULES"]


def _stateless(_parameter: Tensor, _vectors: Vectors, _flags: Flags) -> State:
    return {}


def _no_constants(_numbers: Vectors) -> Vectors:
    return {}


# Adafactor -----------------------------------------------------------------------------------------------------------


def _adafactor_group(group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    first, second = group["eps"]
    own = {"eps1": math.nan if first is None else first, "eps2": second, "decoupled_weight_decay": True}
    return {**plain_group(group, optimizer), **own}


def _adafactor_constants(numbers: Vectors) -> Vectors:
    return {name: numbers[name] for name in ("eps1", "eps2", "d")}


def _adafactor_begin(parameter: Tensor, _vectors: Vectors, _flags: Flags) -> State:
    if parameter.dim() < 3:  # vectors and scalars: there is nothing to factorize
        return {"second": torch.zeros_like(parameter)}
    return {"rows": torch.zeros_like(parameter[..., :1]), "columns": torch.zeros_like(parameter[..., :1, :])}


def _adafactor_rates(numbers: Vectors, lr: Tensor, count: int, _state: State) -> Vectors:
    return {"weight": count ** numbers["beta2_decay"], "rate": lr.clamp(max=count**-0.5)}


def _adafactor_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, _flags: Flags) -> None:
    floor = torch.nan_to_num(vectors["eps1"], nan=torch.finfo(parameter.dtype).eps)  # NaN is torch's None
    rate = torch.maximum(vectors["eps2"], _root_mean_square(parameter)).mul_(vectors["rate"])
    if "shrink" in vectors:
        parameter.mul_(vectors["shrink"])
    second = _adafactor_second(gradient, state, vectors["weight"], floor)
    gradient.mul_(torch.maximum(second, floor.square(), out=second).rsqrt_())
    clipped = _root_mean_square(gradient).div_(vectors["d"]).clamp_(min=1.0)
    parameter.addcmul_(gradient, rate.div_(clipped), value=-1)


def _adafactor_second(gradient: Tensor, state: State, weight: Tensor, floor: Tensor) -> Tensor:
    """Average the squares of the gradient; of a matrix, only the means of its rows and columns are kept."""
    square = gradient.square()
    if "second" in state:
        return state["second"].lerp_(square, weight).clone()
    rows = state["rows"].lerp_(square.mean(dim=-1, keepdim=True), weight)
    columns = state["columns"].lerp_(square.mean(dim=-2, keepdim=True), weight)
    mean = rows.mean(dim=-2, keepdim=True)
    return torch.matmul(rows, columns, out=square).div_(torch.maximum(mean, floor))


def _root_mean_square(whole: Tensor) -> Tensor:
    """Return each member's, shape (K, 1, ...)."""
    flat = whole.reshape(len(whole), -1)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1) / math.sqrt(flat.shape[1])
    return norms.view(-1, *[1] * (whole.dim() - 1))


# Muon ----------------------------------------------------------------------------------------------------------------


def _muon_group(group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    own = {"decoupled_weight_decay": True, "ns_coefficients": tuple(group["ns_coefficients"])}
    return {**plain_group(group, optimizer), **own}


def _muon_constants(numbers: Vectors) -> Vectors:
    return {"weight": 1 - numbers["momentum"], "momentum": numbers["momentum"], "eps": numbers["eps"]}


def _muon_begin(parameter: Tensor, _vectors: Vectors, _flags: Flags) -> State:
    return {"velocity": torch.zeros_like(parameter)}


def _muon_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, flags: Flags) -> None:
    velocity = state["velocity"].lerp_(gradient, vectors["weight"])
    direction = gradient.lerp_(velocity, vectors["momentum"]) if flags["nesterov"] else velocity
    descent = vectors["descent"] * _muon_ratio(flags["adjust_lr_fn"], *parameter.shape[1:])
    parameter.addcmul_(_orthogonal(direction, vectors["eps"], flags).to(parameter.dtype), descent)


def _muon_ratio(rule: str | None, rows: int, columns: int) -> float:
    """Return what the rate of a matrix is multiplied by."""
    if rule == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns))


def _orthogonal(direction: Tensor, eps: Tensor, flags: Flags) -> Tensor:
    """Return the nearest orthogonal matrices, nearly: a Newton-Schulz iteration in bfloat16, as torch's own."""
    a, b, c = flags["ns_coefficients"]
    tall = direction.shape[1] > direction.shape[2]
    found = direction.bfloat16()
    found = found.mT if tall else found
    norm = torch.linalg.vector_norm(found, dim=(1, 2), keepdim=True)
    found = found / torch.maximum(norm, eps.to(norm.dtype))
    for _ in range(flags["ns_steps"]):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


# ASGD, Rprop ---------------------------------------------------------------------------------------------------------


def _asgd_rates(numbers: Vectors, lr: Tensor, count: int, state: State) -> Vectors:
    # torch holds η in its default dtype, and an update uses the η that the one before it left behind. The averages
    # that it keeps beside the parameters play no part in training.
    dtype = torch.get_default_dtype()
    used = state.setdefault("eta", lr.to(dtype)).to(lr.dtype)
    state["eta"] = (lr / (1 + numbers["lambd"] * lr * count) ** numbers["alpha"]).to(dtype)
    return {"descent": -used, "fade": 1 - numbers["lambd"] * used}


def _asgd_update(parameter: Tensor, gradient: Tensor, _state: State, vectors: Vectors, _flags: Flags) -> None:
    parameter.mul_(vectors["fade"]).addcmul_(gradient, vectors["descent"])


def _rprop_group(group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    (down, up), (least, most) = group["etas"], group["step_sizes"]
    own = {"weight_decay": 0.0, "down": down, "up": up, "least": least, "most": most}
    return {**plain_group(group, optimizer), **own}


def _rprop_constants(numbers: Vectors) -> Vectors:
    return {name: numbers[name] for name in ("down", "up", "least", "most")}


def _rprop_begin(parameter: Tensor, _vectors: Vectors, _flags: Flags) -> State:
    return {"previous": torch.zeros_like(parameter)}


def _rprop_rates(_numbers: Vectors, lr: Tensor, _count: int, _state: State) -> Vectors:
    return {"lr": lr}


def _rprop_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, _flags: Flags) -> None:
    if "size" not in state:  # the rate of the first update is the first size; later rates are not asked for
        state["size"] = torch.zeros_like(parameter).add_(vectors["lr"])
    agrees = state["previous"].mul_(gradient)
    change = torch.where(agrees > 0, vectors["up"], torch.where(agrees < 0, vectors["down"], 1.0))
    size = state["size"].mul_(change.to(parameter.dtype)).clamp_(vectors["least"], vectors["most"])
    gradient.masked_fill_(agrees < 0, 0.0)
    state["previous"] = gradient.clone()
    parameter.addcmul_(gradient.sign_(), size, value=-1)


# Lion ----------------------------------------------------------------------------------------------------------------


def _lion_group(group: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    for option in ("use_gc", "adanorm", "cautious"):
        if group.get(option):
            raise NotStackableError(f"Lion with {option}=True has no stacked form")
    own = {
        "maximize": vars(optimizer).get("maximize", False),
        "decoupled_weight_decay": group["weight_decouple"],
        "fixed_decay": group["fixed_decay"] and group["weight_decouple"],
    }
    return {**plain_group(group, optimizer), **own}


def _lion_constants(numbers: Vectors) -> Vectors:
    return {"blend": 1 - numbers["beta1"], "weight": 1 - numbers["beta2"]}


def _lion_begin(parameter: Tensor, _vectors: Vectors, _flags: Flags) -> State:
    return {"first": torch.zeros_like(parameter)}


def _lion_update(parameter: Tensor, gradient: Tensor, state: State, vectors: Vectors, _flags: Flags) -> None:
    direction = state["first"].lerp(gradient, vectors["blend"]).sign_()
    state["first"].lerp_(gradient, vectors["weight"])
    parameter.addcmul_(direction, vectors["descent"])


# The tables ----------------------------------------------------------------------------------------------------------

_DECOUPLED = ("decoupled_weight_decay",)

MORE_RULES: dict[type[Optimizer], Rule] = {
    ASGD: Rule(("lambd", "alpha"), _stateless, _asgd_rates, _asgd_update, _no_constants, shared=False),
    Rprop: Rule(
        ("down", "up", "least", "most"), _rprop_begin, _rprop_rates, _rprop_update, _rprop_constants, read=_rprop_group
    ),
    torch.optim.Adafactor: Rule(
        ("beta2_decay", "eps1", "eps2", "d"),
        _adafactor_begin,
        _adafactor_rates,
        _adafactor_update,
        _adafactor_constants,
        _DECOUPLED,
        read=_adafactor_group,
        decays=True,
    ),
}

if hasattr(torch.optim, "Muon"):  # since torch 2.9
    MORE_RULES[torch.optim.Muon] = Rule(
        ("momentum", "eps"),
        _muon_begin,
        only_lr,
        _muon_update,
        _muon_constants,
        ("nesterov", "ns_coefficients", "ns_steps", "adjust_lr_fn", *_DECOUPLED),
        read=_muon_group,
    )

NAMED_RULES: dict[str, Rule] = {  # of other packages, which are not imported here
    "pytorch_optimizer.optimizer.lion.Lion": Rule(
        ("beta1", "beta2"),
        _lion_begin,
        only_lr,
        _lion_update,
        _lion_constants,
        (*_DECOUPLED, "fixed_decay"),
        read=_lion_group,
    ),
}
