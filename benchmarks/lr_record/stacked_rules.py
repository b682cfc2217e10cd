"""Stacked updates of further optimizers, which only the record needs: thousands of short runs of each."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adafactor, Muon, Optimizer

from stepsize.errors import NotStackableError
from stepsize.training.population import StackedOptimizer
from stepsize.training.population.rules import RULES, Slot, StackedRule, with_betas


def _read_adafactor(optimizer: Optimizer, group: Mapping[str, Any]) -> Mapping[str, Any]:
    del optimizer
    return {**group, "eps1": group["eps"][0], "eps2": group["eps"][1], "decoupled_weight_decay": True}


def _adafactor(slot: Slot) -> None:
    parameter, gradient = slot.parameter, slot.gradient
    floor = slot.flags["eps1"] or torch.finfo(parameter.dtype).eps
    rate = _root_mean_square(parameter).clamp_(min=slot.flags["eps2"])
    rate.mul_(slot.cast(torch.as_tensor(slot["lr"]).clamp(max=slot.count**-0.5)))
    if slot.flags["decays"]:
        parameter.mul_(slot.cast(slot["shrink"]))
    second = _second(slot, floor)
    gradient.mul_(second.clamp_(min=floor**2).rsqrt_())
    clipped = _root_mean_square(gradient).div_(slot.cast(slot["d"])).clamp_(min=1.0)
    parameter.addcmul_(gradient, rate.div_(clipped), value=-1)


def _second(slot: Slot, floor: float) -> Tensor:
    """Average the squares of the gradient; of a matrix, only the means of its rows and columns are kept."""
    square, weight = slot.gradient.square(), slot.cast(slot.count ** slot["beta2_decay"])
    if slot.parameter.dim() < 3:  # vectors and scalars: there is nothing to factorize
        return slot.kept("second").lerp_(square, weight).clone()
    means = {"rows": square.mean(dim=-1, keepdim=True), "columns": square.mean(dim=-2, keepdim=True)}
    for name, mean in means.items():
        means[name] = slot.state.setdefault(name, torch.zeros_like(mean)).lerp_(mean, weight)
    mean = means["rows"].mean(dim=-2, keepdim=True)
    return torch.matmul(means["rows"], means["columns"], out=square).div_(mean.clamp(min=floor))


def _root_mean_square(whole: Tensor) -> Tensor:
    """Return each member's, shape (K, 1, ...)."""
    flat = whole.reshape(len(whole), -1)
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1) / math.sqrt(flat.shape[1])
    return norms.view(-1, *[1] * (whole.dim() - 1))


def _read_muon(optimizer: Optimizer, group: Mapping[str, Any]) -> Mapping[str, Any]:
    del optimizer
    return {**group, "decoupled_weight_decay": True, "ns_coefficients": tuple(group["ns_coefficients"])}


def _muon(slot: Slot) -> None:
    momentum = slot["momentum"]
    velocity = slot.kept("velocity").lerp_(slot.gradient, slot.cast(1 - momentum))
    direction = slot.gradient.lerp_(velocity, slot.cast(momentum)) if slot.flags["nesterov"] else velocity
    rows, columns = slot.parameter.shape[1:]
    ratio = math.sqrt(max(1.0, rows / columns))
    if slot.flags["adjust_lr_fn"] == "match_rms_adamw":
        ratio = 0.2 * math.sqrt(max(rows, columns))
    slot.descend(_orthogonal(direction, slot).to(slot.parameter.dtype), slot["lr"] * ratio)


def _orthogonal(direction: Tensor, slot: Slot) -> Tensor:
    """Return the nearest orthogonal matrices, nearly: a Newton-Schulz iteration in bfloat16, as torch's own."""
    a, b, c = slot.flags["ns_coefficients"]
    tall = direction.shape[1] > direction.shape[2]
    found = direction.bfloat16()
    found = found.mT if tall else found
    norm = torch.linalg.vector_norm(found, dim=(1, 2), keepdim=True)
    found = found / norm.clamp(min=slot.flags["eps"])
    for _ in range(slot.flags["ns_steps"]):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found.mT if tall else found


def _read_lion(optimizer: Optimizer, group: Mapping[str, Any]) -> Mapping[str, Any]:
    for option in ("use_gc", "adanorm", "cautious", "fixed_decay"):
        if group.get(option):
            raise NotStackableError(f"Lion with {option}=True has no stacked form")
    return {**with_betas(optimizer, group), "decoupled_weight_decay": group["weight_decouple"]}


def _lion(slot: Slot) -> None:
    first = slot.kept("first")
    direction = first.lerp(slot.gradient, slot.cast(1 - slot["beta1"])).sign_()
    first.lerp_(slot.gradient, slot.cast(1 - slot["beta2"]))
    slot.descend(direction, slot["lr"])


def _read_schedule_free(optimizer: Optimizer, group: Mapping[str, Any]) -> Mapping[str, Any]:
    if group["r"] or group["weight_lr_power"] != 2.0:
        raise NotStackableError("schedule-free with r or another weight_lr_power has no stacked form")
    named = with_betas(optimizer, group) if "betas" in group else {**group, "beta1": group["momentum"]}
    return {**named, "decoupled_weight_decay": True}


def _schedule_free_adamw(slot: Slot) -> None:
    gradient, beta2 = slot.gradient, slot["beta2"]
    second = slot.kept("second").lerp_(gradient.square(), slot.cast(1 - beta2))
    deviation = (second / slot.cast(1 - beta2**slot.count)).sqrt_().add_(slot.cast(slot["eps"]))
    gradient.div_(deviation)
    _schedule_free(slot)


def _schedule_free(slot: Slot) -> None:
    """Move y, where gradients are taken, and z, where plain steps lead; the average x of all z is on their line.

    The weight of update t in the average is min(1, t / warmup)², as the rate is constant but for the warmup.
    """
    if "z" not in slot.state:
        slot.state["z"] = slot.parameter.clone()
    z = slot.state["z"]
    warmup, beta1 = slot.flags["warmup_steps"], slot["beta1"]
    ramp = min(1.0, slot.count / warmup) if warmup else 1.0
    rising = min(slot.count, warmup)
    share = ramp**2 / (slot.count - rising + rising * (rising + 1) * (2 * rising + 1) / (6 * max(1, warmup) ** 2))
    slot.gradient.add_(slot.parameter * slot.cast(slot["weight_decay"]))
    slot.parameter.lerp_(z, share)
    slot.descend(slot.gradient, slot["lr"] * (ramp * (1 - beta1 * (1 - share))))
    z.addcmul_(slot.gradient, slot.cast(-slot["lr"] * ramp))


@contextmanager
def averaged(optimizers: Iterable[StackedOptimizer]) -> Iterator[None]:
    """Put the averages that schedule-free optimizers evaluate into the parameters for a while."""
    moved = [slot for optimizer in optimizers for slot in optimizer.slots if slot is not None and "z" in slot.state]
    kept = [slot.parameter.clone() for slot in moved]
    for slot in moved:
        slot.parameter.lerp_(slot.state["z"], slot.cast(1 - 1 / slot["beta1"]))
    yield
    for slot, y in zip(moved, kept, strict=True):
        slot.parameter.copy_(y)


_MUON = ("eps", "nesterov", "ns_coefficients", "ns_steps", "adjust_lr_fn", "decoupled_weight_decay")


def rules_for(kind: type[Optimizer]) -> dict[type[Optimizer], StackedRule]:
    """Return rules of which one is for a class of optimizers; packages that are not always there go by name."""
    if kind.__name__ == "Lion":
        return {kind: StackedRule(_lion, ("beta1", "beta2"), ("decoupled_weight_decay",), read=_read_lion)}
    if kind.__name__ in ("SGDScheduleFree", "AdamWScheduleFree"):
        scaled = kind.__name__ == "AdamWScheduleFree"
        update, numbers = (_schedule_free_adamw, ("beta1", "beta2", "eps")) if scaled else (_schedule_free, ("beta1",))
        flags = ("warmup_steps", "decoupled_weight_decay")
        return {kind: StackedRule(update, numbers, flags, True, _read_schedule_free)}
    return RULES | {
        Adafactor: StackedRule(
            _adafactor, ("beta2_decay", "d"), ("eps1", "eps2", "decoupled_weight_decay"), True, _read_adafactor
        ),
        Muon: StackedRule(_muon, ("momentum",), _MUON, read=_read_muon),
    }
